-- Builds an Ardour session for tests, without a window: a stereo track "dry", and stereo tracks with one plugin each.
-- Runs in ardour7-lua:  ardour_session.lua FOLDER NAME RATE BLOCK LV2|VST3 PLUGIN INSTANCES [PARAMETER=VALUE]...
-- Prints, parted by tabs, a line "latency TRACK FRAMES" a plugin, "parameter NAME NUMBER" for those of the first, and
-- "saved" at the end.
local folder, name, rate, block = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local kind, identity, instances = ARDOUR.PluginType[arg[5]], arg[6], tonumber(arg[7])
local wanted = {}
for i = 8, #arg do
  local key, value = arg[i]:match("^(.-)=(.*)$")
  wanted[key] = tonumber(value)
end

local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_buffer_size(block)
local session = create_session(folder, name, rate)
assert(session, "no session")
session:new_audio_track(2, 2, nil, 1, "dry", -1, ARDOUR.TrackMode.Normal, true, false)

local plugins = {}
for i = 1, instances do
  local tracks = session:new_audio_track(2, 2, nil, 1, "wet" .. i, -1, ARDOUR.TrackMode.Normal, true, false)
  local plugin = ARDOUR.LuaAPI.new_plugin(session, identity, kind, "")
  assert(not plugin:isnil(), "no plugin " .. identity)
  assert(tracks:front():add_processor_by_index(plugin, 0, nil, true) == 0, "the track refused the plugin")
  plugins[i] = plugin
end
sleep(1)

for i, processor in ipairs(plugins) do
  local plugin = processor:to_insert():plugin(0)
  local number = 0  -- counts controls, read-outs too
  for j = 0, plugin:parameter_count() - 1 do
    if plugin:parameter_is_control(j) then
      local label = plugin:parameter_label(j)
      if i == 1 then print("parameter\t" .. label .. "\t" .. number) end
      if wanted[label] then
        assert(ARDOUR.LuaAPI.set_processor_param(processor, number, wanted[label]), "refused: " .. label)
      end
      number = number + 1
    end
  end
end
sleep(1)  -- what was set reaches the plugin's state with the next process cycles
for i, processor in ipairs(plugins) do
  print("latency\twet" .. i .. "\t" .. processor:to_insert():signal_latency())
end
session:save_state("", false, false, false, false, false)
print("saved")
close_session()
quit()
