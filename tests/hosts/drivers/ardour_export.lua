-- Exports an Ardour session's master bus, without a window: WAV, float32, at the session's rate.
-- Runs in ardour7-lua:  ardour_export.lua FOLDER NAME BLOCK TARGET PRESET
-- Prints "exported" once the file in the folder TARGET is complete, and then waits to be ended.
local folder, name, block, target, preset = arg[1], arg[2], tonumber(arg[3]), arg[4], arg[5]

local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_buffer_size(block)
local session = load_session(folder, name)
assert(session, "no session")
local export = session:simple_export()
assert(export:set_preset(preset), "no preset " .. preset)
export:set_folder(target)
export:set_range(session:current_start_sample(), session:current_end_sample())
assert(export:run_export(), "not exported")
io.stdout:write("exported\n")
io.stdout:flush()  -- which print() leaves to the end
sleep(60)
