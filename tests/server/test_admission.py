"""Who is admitted: sums of what the models cost against what the cores have, and how those fare that play."""

from __future__ import annotations

import pytest

from rtserver.control.admission import MOST_TOGETHER, ROOM, Admission, Refused, Voice
from rtserver.worker.messages import Cost
from tests.server.reports import Playing, Reports, served

PIANO = Cost(decoder=0.3, decoder_more=0.1, encoder=0.02)


def admission(cores: int = 1, admit: str = "measured", *, shared: bool = False, **costs: Cost) -> Admission:
    made = Admission(admit)
    made.has_cores({"render_threads": cores, "shared_core": shared})
    for name, cost in (costs or {"piano": PIANO}).items():
        made.learn(name, cost)
    return made


def admit(to: Admission, others: list[Playing], model: str = "piano", decoder: int = 0) -> Playing:
    session = Playing(served(model), {"decoder": decoder})
    to.reserve(session, others)  # type: ignore[arg-type]
    others.append(session)
    return session


def fill(to: Admission, model: str = "piano", at_once: bool = False) -> list[Playing]:
    """Admit one after the other, each as soon as those before have played for a moment."""
    playing: list[Playing] = []
    reports = Reports(to)
    with pytest.raises(Refused):
        for _ in range(1000):
            admit(to, playing, model)
            if not at_once:
                reports.play(playing)
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
    assert told["refused"] == 1 and told["begun"] == told["missing"] == 0


def test_of_many_at_once_those_get_in_that_fit_in_any_case() -> None:
    """And the others when it has been seen what company is worth: one after the other, or as many as fit in full."""
    to = admission(piano=Cost(0.1, 0.02, 0.001))
    playing, reports = fill(to, at_once=True), Reports(to)
    assert len(playing) == 7
    with pytest.raises(Refused) as refused:
        admit(to, playing)
    told = "piano needs 0.10 of a decoder core, 0.00 is free; 7 sessions play, 7 just begun: wait a moment"
    assert str(refused.value) == told
    reports.play(playing)
    told_later = []
    while len(playing) < 12:
        admit(to, playing)
        told_later.append(to.to_dict(playing)["begun"])  # type: ignore[arg-type]
    assert told_later == [1, 2, 3, 4, 5]
    with pytest.raises(Refused, match="5 just begun: wait a moment"):
        for _ in range(10):
            admit(to, playing)


def test_a_large_model_gets_company_one_by_one() -> None:
    to = admission(piano=Cost(0.4, 0.1, 0.01))
    playing: list[Playing] = []
    reports = Reports(to)
    admit(to, playing)
    with pytest.raises(Refused, match="1 session plays, 1 just begun: wait a moment"):
        admit(to, playing)
    reports.play(playing)
    admit(to, playing)
    assert len(playing) == 2


def test_who_takes_more_than_at_rest_counts_as_much() -> None:
    """Half as much again, as when the host shares caches with the decoder; company is taken into account."""
    to = admission(piano=Cost(0.1, 0.04, 0.01))
    playing, reports = fill(to, at_once=True), Reports(to)
    at_rest = (0.1 + 3 * 0.04) / 4
    reports.play(playing, 4, decoder=1.5 * at_rest, encoder=0.02, together=4)
    told = to.to_dict(playing)  # type: ignore[arg-type]
    assert told["in_service"] == {"piano": {"decoder": 1.5, "encoder": 2.0}}
    assert told["decoder_cores"][0]["load"] == pytest.approx(1.5 * (0.1 + 6 * 0.04))
    assert told["encoder_core"]["load"] == pytest.approx(7 * 0.02)
    admit(to, playing)
    with pytest.raises(Refused, match=r"needs 0\.15 of a decoder core, 0\.13 is free"):
        admit(to, playing)


def test_who_takes_less_than_at_rest_counts_as_that() -> None:
    """The measurement at rest was disturbed; those who play have real-time priority."""
    to = admission(piano=Cost(0.2, 0.2, 0.02))
    playing, reports = fill(to, at_once=True), Reports(to)
    assert len(playing) == 3
    reports.play(playing, 4, decoder=0.1, encoder=0.01)
    assert [admit(to, playing).render_thread for _ in range(4)] == [0] * 4
    with pytest.raises(Refused, match=r"needs 0\.10 of a decoder core, 0\.00 is free"):
        admit(to, playing)


def test_what_they_take_is_forgotten_once_it_is_over() -> None:
    to = admission()
    playing: list[Playing] = []
    reports = Reports(to)
    admit(to, playing)
    reports.play(playing, 4, decoder=0.6)
    assert to.cost("piano").decoder == pytest.approx(0.6)
    reports.play(playing, 5, decoder=0.4)
    assert to.cost("piano").decoder == pytest.approx(0.4)
    reports.pass_time(5, playing)
    assert to.cost("piano") == PIANO


def test_nobody_is_admitted_while_one_misses_again_and_again() -> None:
    to = admission(piano=Cost(0.1, 0.05, 0.01))
    playing: list[Playing] = []
    reports = Reports(to)
    for _ in range(3):
        admit(to, playing)
    reports.play(playing, 2, misses={playing[0].number: "decoder", playing[1].number: "encoder"})
    with pytest.raises(Refused) as refused:
        admit(to, playing)
    assert refused.value.code == "busy"
    what = str(refused.value)
    assert what.startswith("2 of 3 sessions miss blocks for want of the ") and what.endswith("--admit all")
    assert len("Refused: " + what) <= 128, "VST3 hosts show no more"
    assert to.to_dict(playing)["missing"] == 2  # type: ignore[arg-type]
    admit(to, playing, "loopback")  # a probe takes nothing
    playing.pop()
    reports.play(playing, 3)
    with pytest.raises(Refused):
        admit(to, playing)
    reports.play(playing, 2)
    admit(to, playing)


def test_misses_of_one_stall_or_of_another_cause_shut_nobody_out() -> None:
    to = admission(piano=Cost(0.1, 0.05, 0.01))
    playing: list[Playing] = []
    reports = Reports(to)
    for _ in range(2):
        admit(to, playing)
    reports.play(playing, 2, misses={playing[0].number: "host", playing[1].number: "starting"})
    admit(to, playing)
    reports.play(playing, 0.25, misses={session.number: "decoder" for session in playing[:1]})
    reports.play(playing, 1)
    assert len(to.in_service.lacking(playing)) == 1, "two reports"  # type: ignore[arg-type]
    reports.play(playing, 5)
    reports.play(playing, 0, misses={session.number: "decoder" for session in playing})
    reports.play(playing, 1)
    admit(to, playing)


def test_when_those_leave_who_miss_another_gets_in() -> None:
    to = admission(piano=Cost(0.1, 0.05, 0.01))
    playing: list[Playing] = []
    reports = Reports(to)
    for _ in range(2):
        admit(to, playing)
    reports.play(playing, 2, misses={playing[0].number: "decoder"})
    playing.pop(0)
    admit(to, playing)


def test_another_model_in_place_of_the_last_adds_nobody() -> None:
    to = admission(piano=Cost(0.1, 0.05, 0.01), violin=Cost(0.2, 0.05, 0.01), large=Cost(0.65, 0.6, 0.01))
    playing: list[Playing] = []
    reports = Reports(to)
    for _ in range(2):
        admit(to, playing)
    reports.play(playing, 2, misses={playing[0].number: "decoder"})
    changing = playing[0]
    changing.model, changing.reserved, changing.generation = served("violin"), False, 2
    to.reserve(changing, playing, instead=True)  # type: ignore[arg-type]
    changing.model, changing.reserved = served("large"), False
    with pytest.raises(Refused, match=r"0\.65 of a decoder core, 0\.60 is free"):
        to.reserve(changing, playing, instead=True)  # type: ignore[arg-type]


def test_a_new_worker_knows_of_nobody() -> None:
    to = admission()
    playing: list[Playing] = []
    reports = Reports(to)
    admit(to, playing)
    reports.play(playing, 2, decoder=0.6, misses={playing[0].number: "decoder"})
    to.has_cores({})
    assert to.cost("piano") == PIANO and not to.in_service.settled(playing[0])  # type: ignore[arg-type]


def test_the_refusal_has_the_figures_and_what_to_do() -> None:
    to = admission(piano=Cost(0.34, 0.25, 0.0))
    playing = [admit(to, []), Playing()]  # the second one bounces
    admit(to, playing)
    Reports(to).play(playing)
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
