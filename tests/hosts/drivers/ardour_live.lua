-- Plays an Ardour session in real time, without a window, and records what comes out of every track with a plugin.
-- Runs in ardour7-lua:  ardour_live.lua FOLDER NAME RATE BLOCK INSTANCES SECONDS
-- Prints, parted by tabs, "connection TRACK VALUE" and "misses TRACK VALUE" of each plugin at the end of the seconds, the
-- same as "first connection" and "first misses" as they begin, and "played" at last; the recordings are in the session's
-- folder, named after tracks "rec" .. n.
local folder, name, rate, block = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local instances, seconds = tonumber(arg[5]), tonumber(arg[6])

local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_buffer_size(block)
local session = load_session(folder, name)
assert(session, "no session")
sleep(2)

local wet = {}
for i = 1, instances do
  wet[i] = session:route_by_name("wet" .. i)
  assert(not wet[i]:isnil(), "no track wet" .. i)
  local record = session:new_audio_track(2, 2, nil, 1, "rec" .. i, -1, ARDOUR.TrackMode.Normal, true, false):front()
  for channel = 0, 1 do
    local port = record:input():audio(channel)
    port:disconnect_all()
    assert(wet[i]:output():audio(channel):connect(port:name()) == 0, "not connected")
  end
  record:output():disconnect_all(nil)
  record:rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)
end

local function tell(when)
  for i = 1, instances do
    local processor = wet[i]:nth_plugin(0)
    local plugin = processor:to_insert():plugin(0)
    local number = 0
    for j = 0, plugin:parameter_count() - 1 do
      if plugin:parameter_is_control(j) then
        local label = plugin:parameter_label(j)
        if label == "Connection" or label == "Misses" then
          local value = ARDOUR.LuaAPI.get_processor_param(processor, number)
          print(when .. label:lower() .. "\twet" .. i .. "\t" .. value)
        end
        number = number + 1  -- counts controls, read-outs too
      end
    end
  end
end

sleep(1)
session:maybe_enable_record(false)
session:goto_start(false)
sleep(1)
session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)
tell("first ")
sleep(seconds)
tell("")
session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)
sleep(1)
print("played")
close_session()
quit()
