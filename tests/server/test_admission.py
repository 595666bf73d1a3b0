"""Who is admitted: sums of what the models cost against what the cores have."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from rtserver.control.admission import MOST_TOGETHER, ROOM, Admission, Refused, Voice
from rtserver.worker.messages import Cost

PIANO = Cost(decoder=0.3, decoder_more=0.1, encoder=0.02)


@dataclass
class Playing:
    """What admission looks at in a session."""

    model: Any = field(default_factory=lambda: SimpleNamespace(name="piano"))
    parameters: dict[str, int] = field(default_factory=lambda: {"decoder": 0})
    segment: Any = None
    reserved: bool = False
    render_thread: int = -1
    state: str = "running"
    worker_stats: dict[str, Any] = field(default_factory=dict)


def admission(cores: int = 1, admit: str = "measured", *, shared: bool = False, **costs: Cost) -> Admission:
    made = Admission(admit)
    made.has_cores({"render_threads": cores, "shared_core": shared})
    for name, cost in (costs or {"piano": PIANO}).items():
        made.learn(name, cost)
    return made


def admit(to: Admission, others: list[Playing], model: str = "piano", decoder: int = 0) -> Playing:
    session = Playing(SimpleNamespace(name=model), {"decoder": decoder})
    to.reserve(session, others)  # type: ignore[arg-type]
    others.append(session)
    return session


def fill(to: Admission, model: str = "piano") -> list[Playing]:
    playing: list[Playing] = []
    with pytest.raises(Refused):
        for _ in range(1000):
            admit(to, playing, model)
    return playing


def test_company_is_cheaper_than_strangers() -> None:
    to = admission()
    alone, same, other = Voice("piano"), Voice("piano"), Voice("piano", 1)
    assert to.decoder_load([alone]) == pytest.approx(0.3)
    assert to.decoder_load([alone, same]) == pytest.approx(0.4)
    assert to.decoder_load([alone, other]) == pytest.approx(0.6)
    ninth = to.decoder_load([alone] * (MOST_TOGETHER + 1))
    assert ninth == pytest.approx(2 * 0.3 + (MOST_TOGETHER - 1) * 0.1), "one reading serves eight"


def test_a_core_is_filled_up_to_its_room_and_no_further() -> None:
    to = admission()
    playing = fill(to)
    assert len(playing) == 5  # 0.3 + 4 * 0.1 = 0.7
    told = to.to_dict(playing)  # type: ignore[arg-type]
    assert told["decoder_cores"] == [{"sessions": 5, "load": ROOM, "free": 0.0}]
    assert told["encoder_core"]["load"] == pytest.approx(0.1)
    assert told["refused"] == 1


def test_the_refusal_has_the_figures_and_what_to_do() -> None:
    to = admission(piano=Cost(0.34, 0.25, 0.0))
    playing = [admit(to, []), Playing()]  # the second one bounces
    admit(to, playing)
    with pytest.raises(Refused) as refused:
        admit(to, playing)
    assert refused.value.code == "busy"
    assert str(refused.value) == (
        "piano needs 0.25 of a decoder core, 0.11 is free; 2 sessions play:"
        " end one, or start the server with --admit all"
    )
    assert len("Refused: " + str(refused.value)) <= 128, "VST3 hosts show no more"


def test_the_emptiest_core_is_taken() -> None:
    to = admission(cores=3)
    playing: list[Playing] = []
    assert [admit(to, playing).render_thread for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    playing.pop(1)
    assert admit(to, playing).render_thread == 1


def test_the_encoder_is_a_limit_too() -> None:
    to = admission(cores=8, piano=Cost(0.01, 0.01, 0.2))
    playing = fill(to)
    assert len(playing) == 3
    with pytest.raises(Refused, match=r"0\.20 of the encoder core, 0\.10 is free"):
        admit(to, playing)


def test_one_core_carries_both() -> None:
    assert len(fill(admission(piano=Cost(0.2, 0.2, 0.15)))) == 3
    assert len(fill(admission(piano=Cost(0.2, 0.2, 0.15), shared=True))) == 2


def test_alone_a_session_may_take_the_whole_core() -> None:
    to = admission(large=Cost(0.95, 0.9, 0.1), piano=PIANO)
    playing = [admit(to, [], "large")]
    with pytest.raises(Refused, match=r"0\.00 is free; 1 session plays"):
        admit(to, playing)
    admit(to, playing, "loopback")
    with pytest.raises(Refused, match=r"needs 1\.20 of a decoder core, this machine has 1\.00"):
        admit(admission(huge=Cost(1.2, 1.2, 0.1)), [], "huge")


def test_probes_cost_nothing_and_are_never_refused() -> None:
    to = admission()
    playing = fill(to)
    for _ in range(20):
        admit(to, playing, "loopback")
        admit(to, playing, "identity16k")


def test_who_has_a_place_keeps_it() -> None:
    to = admission()
    playing = fill(to)
    to.reserve(playing[0], playing)  # type: ignore[arg-type]
    playing.pop()
    admit(to, playing)


def test_all_means_all() -> None:
    to = admission(admit="all")
    playing: list[Playing] = []
    for _ in range(30):
        admit(to, playing)
    assert to.to_dict(playing)["decoder_cores"][0]["free"] == 0  # type: ignore[arg-type]


def test_a_bounce_that_becomes_live_needs_a_place() -> None:
    to = admission()
    playing = fill(to)
    bounce = Playing(worker_stats={"epoch": 1, "offline": 1})
    assert to.why_not_live(bounce, playing) == ""  # type: ignore[arg-type]
    bounce.worker_stats["offline"] = 0
    assert "0.00 is free" in to.why_not_live(bounce, playing)  # type: ignore[arg-type]
    playing.pop()
    assert to.why_not_live(bounce, playing) == "" and bounce.reserved  # type: ignore[arg-type]
