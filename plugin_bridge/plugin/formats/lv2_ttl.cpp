// Writes the LV2 bundle's manifest.ttl and rtserver.ttl from the table of parameters: lv2_ttl FOLDER BINARY.
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "core/parameter_table.h"
#include "formats/identity.h"
#include "formats/lv2_ports.h"

namespace rtplugin {
namespace {

constexpr const char* kPrefixes =
    "@prefix atom: <http://lv2plug.in/ns/ext/atom#> .\n"
    "@prefix bufsz: <http://lv2plug.in/ns/ext/buf-size#> .\n"
    "@prefix doap: <http://usefulinc.com/ns/doap#> .\n"
    "@prefix foaf: <http://xmlns.com/foaf/0.1/> .\n"
    "@prefix lv2: <http://lv2plug.in/ns/lv2core#> .\n"
    "@prefix opts: <http://lv2plug.in/ns/ext/options#> .\n"
    "@prefix pprop: <http://lv2plug.in/ns/ext/port-props#> .\n"
    "@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .\n"
    "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
    "@prefix state: <http://lv2plug.in/ns/ext/state#> .\n"
    "@prefix units: <http://lv2plug.in/ns/extensions/units#> .\n"
    "@prefix urid: <http://lv2plug.in/ns/ext/urid#> .\n\n";

std::string decimal(double value) {
  std::string text = write_number(value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

const char* unit_of(const Parameter& p) {
  const std::string unit = p.unit;
  return unit == "dB" ? "units:db" : unit == "%" ? "units:pc" : unit == "ms" ? "units:ms" : nullptr;
}

class Turtle {
 public:
  explicit Turtle(uint32_t channels) : ports_{channels} {}

  std::string plugin() {
    const bool mono = ports_.channels == 1;
    out_ << '<' << (mono ? kLv2MonoUri : kLv2Uri) << ">\n"
         << "    a lv2:Plugin , doap:Project ;\n    doap:name \"" << (mono ? kMonoName : kName)
         << "\" ;\n    doap:shortdesc \"" << kDescription
         << "\" ;\n    doap:license <http://opensource.org/licenses/mit> ;\n"
         << "    doap:developer [ foaf:name \"" << kVendor << "\" ] ;\n"
         << "    lv2:minorVersion 0 ;\n    lv2:microVersion 2 ;\n"
         << "    lv2:optionalFeature lv2:hardRTCapable , urid:map , opts:options , bufsz:boundedBlockLength ;\n"
         << "    lv2:extensionData state:interface , opts:interface ;\n"
         << "    opts:supportedOption bufsz:nominalBlockLength , bufsz:maxBlockLength ;\n";
    for (uint32_t c = 0; c < ports_.channels; ++c) audio(ports_.audio_in(c), "Input", "in", c);
    for (uint32_t c = 0; c < ports_.channels; ++c) audio(ports_.audio_out(c), "Output", "out", c);
    begin(ports_.side_chain(), "lv2:InputPort , lv2:AudioPort", "side_chain", "Side chain (reserved)");
    out_ << " ;\n        lv2:portProperty lv2:connectionOptional , lv2:isSideChain";
    end();
    for (uint32_t i = 0; i < kParameterCount; ++i) control(ports_.control(i), parameters()[i]);
    begin(ports_.latency(), "lv2:OutputPort , lv2:ControlPort", "latency", "Latency in frames");
    out_ << " ;\n        lv2:designation lv2:latency ;\n        lv2:portProperty lv2:reportsLatency , lv2:integer ,"
         << " pprop:notOnGUI ;\n        lv2:minimum 0 ;\n        lv2:maximum 4194304 ;\n        units:unit units:frame";
    end();
    begin(ports_.freewheel(), "lv2:InputPort , lv2:ControlPort", "freewheel", "Freewheel");
    out_ << " ;\n        lv2:designation lv2:freeWheeling ;\n        lv2:portProperty lv2:toggled , pprop:notOnGUI ,"
         << " lv2:connectionOptional ;\n        lv2:default 0.0 ;\n        lv2:minimum 0.0 ;\n        lv2:maximum 1.0";
    end();
    std::string text = out_.str();
    text.replace(text.rfind(" ;\n"), 3, " .\n");
    return text + '\n';
  }

 private:
  void begin(uint32_t number, const char* types, const std::string& symbol, const std::string& name) {
    out_ << "    lv2:port [\n        a " << types << " ;\n        lv2:index " << number << " ;\n        lv2:symbol \""
         << symbol << "\" ;\n        lv2:name \"" << name << '"';
  }
  void end() { out_ << "\n    ] ;\n"; }

  void audio(uint32_t number, const char* name, const char* symbol, uint32_t channel) {
    const std::string side = ports_.channels == 1 ? "" : channel == 0 ? " left" : " right";
    const std::string direction = symbol == std::string("in") ? "lv2:InputPort" : "lv2:OutputPort";
    const std::string suffix = ports_.channels == 1 ? "" : channel == 0 ? "_left" : "_right";
    begin(number, (direction + " , lv2:AudioPort").c_str(), symbol + suffix, name + side);
    end();
  }

  void control(uint32_t number, const Parameter& p) {
    const bool bypass = p.id == ParameterId::kBypass;  // the format has it the other way round
    begin(number, p.read_out ? "lv2:OutputPort , lv2:ControlPort" : "lv2:InputPort , lv2:ControlPort",
          bypass ? "enabled" : p.symbol, bypass ? "Enabled" : p.name);
    if (bypass) out_ << " ;\n        lv2:designation lv2:enabled";
    if (!p.read_out) out_ << " ;\n        lv2:default " << decimal(bypass ? 1.0 : p.initial);
    out_ << " ;\n        lv2:minimum " << decimal(p.low) << " ;\n        lv2:maximum " << decimal(p.high);
    if (p.form == Form::kWhole) out_ << " ;\n        lv2:portProperty lv2:integer";
    if (p.form == Form::kSwitch) out_ << " ;\n        lv2:portProperty lv2:toggled";
    if (p.form == Form::kTrigger) out_ << " ;\n        lv2:portProperty lv2:toggled , pprop:trigger";
    if (p.form == Form::kChoice) {
      out_ << " ;\n        lv2:portProperty lv2:integer , lv2:enumeration ;\n        lv2:scalePoint";
      for (uint32_t i = 0; i <= p.steps(); ++i)
        out_ << (i ? " ,\n            [ rdfs:label \"" : " [ rdfs:label \"") << p.choices[i] << "\" ; rdf:value " << i
             << ".0 ]";
    }
    if (!p.read_out && !p.automatable()) out_ << " ;\n        lv2:portProperty pprop:expensive";
    if (const char* unit = unit_of(p)) out_ << " ;\n        units:unit " << unit;
    end();
  }

  const Lv2Ports ports_;
  std::ostringstream out_;
};

std::string manifest(const std::string& binary) {
  std::string text = kPrefixes;
  for (const char* uri : {kLv2Uri, kLv2MonoUri})
    text += std::string("<") + uri + ">\n    a lv2:Plugin ;\n    lv2:binary <" + binary +
            "> ;\n    rdfs:seeAlso <rtserver.ttl> .\n\n";
  return text;
}

}  // namespace
}  // namespace rtplugin

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: lv2_ttl FOLDER BINARY\n";
    return 2;
  }
  const std::string folder = argv[1];
  std::ofstream manifest(folder + "/manifest.ttl"), plugin(folder + "/rtserver.ttl");
  manifest << rtplugin::manifest(argv[2]);
  plugin << rtplugin::kPrefixes << rtplugin::Turtle(2).plugin() << rtplugin::Turtle(1).plugin();
  manifest.close();
  plugin.close();
  return manifest && plugin ? 0 : 1;
}
