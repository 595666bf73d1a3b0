"""The OSC control protocol without I/O: bytes in, events out, events in, bytes out.

for event in decode(datagram, "server", checker): ...
datagram = encode(StatusReply(text), sealer)
"""

from rtserver.osc.addresses import (
    BLEND,
    CLIENT_PARAMETERS,
    DEFAULTS,
    LATENCY_PARTS,
    MESSAGES,
    PARAMETERS,
    Argument,
    Message,
)
from rtserver.osc.codec import checked, decode, encode
from rtserver.osc.events import (
    Blend,
    Connect,
    Connected,
    Disconnect,
    ErrorReply,
    Event,
    ModelsReply,
    ModelsRequest,
    PresetDelete,
    PresetRecall,
    PresetSave,
    PresetsReply,
    PresetsRequest,
    Refusal,
    SetParameter,
    StatusReply,
    StatusRequest,
)
from rtserver.osc.oscquery import ATTRIBUTES, host_info, node_at, oscquery
from rtserver.osc.seal import SealChecker, Sealer

__all__ = [
    "ATTRIBUTES",
    "BLEND",
    "CLIENT_PARAMETERS",
    "DEFAULTS",
    "LATENCY_PARTS",
    "MESSAGES",
    "PARAMETERS",
    "Argument",
    "Blend",
    "Connect",
    "Connected",
    "Disconnect",
    "ErrorReply",
    "Event",
    "Message",
    "ModelsReply",
    "ModelsRequest",
    "PresetDelete",
    "PresetRecall",
    "PresetSave",
    "PresetsReply",
    "PresetsRequest",
    "Refusal",
    "SealChecker",
    "Sealer",
    "SetParameter",
    "StatusReply",
    "StatusRequest",
    "checked",
    "decode",
    "encode",
    "host_info",
    "node_at",
    "oscquery",
]
