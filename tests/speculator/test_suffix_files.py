"""Suffix trees that outlive their process: read back equal, tenant by tenant; what is damaged stops nothing."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.suffix import SAVE_SECONDS, SuffixSpeculator
from speculator.suffix_files import SuffixFiles
from speculator.suffix_forest import Forest
from speculator.suffix_state import TreeState, ints
from speculator.suffix_tenant import Tenant, TenantState
from tests.speculator.forests import FORESTS, each_forest, numbers, texts_of
from tests.speculator.test_suffix import ALPHABET, Server, likeliest
from tests.speculator.test_suffix_tree import DEPTH, TEXTS, grown

TOKENIZER = "tokenizer"
pytestmark = each_forest


def through_bytes(state: TreeState) -> TreeState:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=TreeState)


@pytest.mark.parametrize("reader", FORESTS)
@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([8, 16, 1000]), st.booleans())
def test_a_tree_reads_back_equal_whoever_reads_it_and_grows_on_as_if_nothing_had_happened(
    trees: Forest, reader: Forest, texts: list[list[int]], further: list[list[int]], window: int, close_last: bool
) -> None:
    tree = grown(trees, texts, window, close_last)
    again = reader.thaw(through_bytes(trees.freeze(tree)))
    assert numbers(again) == numbers(tree)
    copy, state = trees.copied(tree), trees.freeze(tree)
    for text in further:
        for each in (tree, again):
            each.extend(text)
            each.close()
    assert numbers(again) == numbers(tree)
    assert trees.freeze(copy) == state, "a copy stays as it is"


def server_with(trees: Forest, folder: Path, **options: object) -> Server:
    server = Server(trees)
    server.speculator = SuffixSpeculator(trees=trees, files=SuffixFiles(folder, TOKENIZER), **options)  # type: ignore[arg-type]
    return server


def drafted(server: Server, tenant: str = "t") -> list[int]:
    sequence = server.begin([5, 6], tenant, learn=False)
    server.say(sequence, ALPHABET[:3])
    return likeliest(server.draft(sequence))[:4]


def test_a_restarted_server_drafts_what_the_one_before_learnt_for_the_same_tenant_alone(trees: Forest, tmp_path: Path) -> None:
    before = server_with(trees, tmp_path)
    before.serve([1, 2], ALPHABET)
    before.serve([1, 2], reversed(ALPHABET), learn=False)
    before.settle()
    assert drafted(before) == ALPHABET[3:7]
    before.speculator.close()
    after = server_with(trees, tmp_path)
    assert drafted(after) == ALPHABET[3:7]
    assert drafted(after, "other") == []
    tree, again = before.speculator._tenant("t").tree, after.speculator._tenant("t").tree
    assert numbers(again) == numbers(tree)


def test_what_waited_to_be_learnt_is_learnt_after_the_restart(trees: Forest, tmp_path: Path) -> None:
    before = server_with(trees, tmp_path)
    before.serve([1, 2], range(1000, 1400))
    before.serve([1, 2], ALPHABET)
    assert drafted(before) == []
    before.speculator.close()
    after = server_with(trees, tmp_path)
    for _ in range(3):
        after.settle()
    assert drafted(after) == ALPHABET[3:7]
    assert len(after.speculator._tenant("t").tree) == 2 + 400 + 2 + len(ALPHABET)


def test_trees_of_another_size_are_learnt_again_from_their_texts(trees: Forest, tmp_path: Path) -> None:
    before = server_with(trees, tmp_path)
    before.serve([1, 2], ALPHABET)
    before.settle()
    before.speculator.close()
    after = server_with(trees, tmp_path, max_depth=12)
    after.settle()
    assert drafted(after) == ALPHABET[3:7]


def test_trees_are_saved_while_serving_one_at_a_time(trees: Forest, tmp_path: Path) -> None:
    now = 0.0
    server = server_with(trees, tmp_path, clock=lambda: now)
    for tenant in ("a", "b"):
        server.serve([1, 2], ALPHABET, tenant)
        server.settle(tenant)
    assert not list(tmp_path.glob("*.tree"))
    for saved in (1, 2, 2):
        now += SAVE_SECONDS
        server.settle("a")
        while server.speculator._saving._box == []:
            pass
        assert len(list(tmp_path.glob("*.tree"))) == saved


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "older", "link"])
def test_a_damaged_file_is_refused_and_the_others_are_read(
    trees: Forest, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    before = server_with(trees, tmp_path)
    for tenant in ("a", "b"):
        before.serve([1, 2], ALPHABET, tenant)
        before.settle(tenant)
    before.speculator.close()
    path = SuffixFiles(tmp_path / "elsewhere", TOKENIZER)._path("a").name
    data = bytearray((tmp_path / path).read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "link":
        (tmp_path / path).rename(tmp_path / "moved")
        (tmp_path / path).symlink_to(tmp_path / "moved")
    else:
        bad = {"flipped": data, "cut": data[:-9], "empty": b"", "older": data.replace(b"trees 1", b"trees 0", 1)}[damage]
        (tmp_path / path).write_bytes(bad)
    after = server_with(trees, tmp_path)
    assert drafted(after, "b") == ALPHABET[3:7]
    assert drafted(after, "a") == []
    assert caplog.text.count("suffix tree refused") == 1


def test_another_tokenizers_trees_are_refused(trees: Forest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = server_with(trees, tmp_path)
    before.serve([1, 2], ALPHABET)
    before.speculator.close()
    assert SuffixFiles(tmp_path, "other").load() == []
    assert "tokenizer is tokenizer, expected other" in caplog.text


def test_a_second_server_in_the_folder_keeps_nothing_and_says_so(
    trees: Forest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = SuffixFiles(tmp_path, TOKENIZER)
    second = SuffixFiles(tmp_path, TOKENIZER)
    assert "another server's" in caplog.text
    second.save(Tenant(8, 64, trees).state("t"), 0)
    second.drop("t")
    assert second.load() == []
    assert not list(tmp_path.glob("*.tree"))
    first.close()
    SuffixFiles(tmp_path, TOKENIZER).save(Tenant(8, 64, trees).state("t"), 0)
    assert len(list(tmp_path.glob("*.tree"))) == 1


def test_a_forgotten_tenants_file_goes_and_a_late_write_does_not_bring_it_back(trees: Forest, tmp_path: Path) -> None:
    server = server_with(trees, tmp_path)
    files = server.speculator._files
    assert files is not None
    server.serve([1, 2], ALPHABET)
    late: TenantState = server.speculator._tenant("t").state("t")
    ticket = files.ticket("t")
    files.save(late, ticket)
    assert len(list(tmp_path.glob("*.tree"))) == 1
    server.speculator.forget("t")
    files.save(late, ticket)
    server.speculator.close()
    assert not list(tmp_path.glob("*.tree"))


def test_the_tenant_that_falls_out_of_memory_leaves_no_file(trees: Forest, tmp_path: Path) -> None:
    server = server_with(trees, tmp_path, max_tenants=2)
    for tenant in ("a", "b", "c"):
        server.serve([1, 2], ALPHABET, tenant)
        server.speculator.close()
        server.speculator._files = SuffixFiles(tmp_path, TOKENIZER)
    assert {state.name for state in server.speculator._files.load()} == {"b", "c"}


def test_a_tree_that_is_none_is_refused_and_the_server_starts(
    trees: Forest, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server_with(trees, tmp_path)
    before.serve([1, 2], ALPHABET)
    before.speculator.close()

    def refuse(*_: object) -> Tenant:
        raise ValueError("that is no tree")

    monkeypatch.setattr(Tenant, "restored", refuse)
    after = server_with(trees, tmp_path)
    assert caplog.text.count("that is no tree") == 1
    assert drafted(after) == []


@pytest.mark.parametrize(("waiting", "num_taken"), [((), 1), (([1, 2, 3],), 4), (([1, 2, 3],), -1)])
def test_more_of_a_text_cannot_be_in_the_tree_than_it_has(trees: Forest, waiting: tuple[list[int], ...], num_taken: int) -> None:
    state = msgspec.structs.replace(Tenant(8, 64, trees).state("t"), waiting=tuple(map(ints, waiting)), num_taken=num_taken)
    with pytest.raises(ValueError, match=f"num_taken is {num_taken}, expected 0 to {3 * len(waiting)},"):
        Tenant.restored(state, 8, 64, trees)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_of_use_stays_and_memory_stays_bounded(trees: Forest, seed: int) -> None:
    rng, tenant = random.Random(seed), Tenant(DEPTH, 200, trees)
    useful = [900 + number for number in range(20)]
    idle = [800 + number for number in range(20)]
    for text in (useful, idle):
        tenant.remember(text)
    for _ in range(60):
        tenant.remember([rng.randrange(500) for _ in range(rng.randint(5, 30))])
        tenant.learn(rng.randint(20, 60))
        found = tenant.tree.walk(useful[4:7])
        if found:
            tenant.tree.use(found[0])
        assert len(tenant.tree) <= 200
        assert tenant.tree.num_nodes <= 2 * len(tenant.tree) + 1
        assert sum(map(len, tenant._waiting)) == tenant._num_waiting <= 200 + 40
        assert sum(map(len, texts_of(tenant.tree))) <= 200 + 2 * 30 + 40
    tenant.learn(1000)
    assert tenant.tree.walk(useful[4:7]) is not None
    assert tenant.tree.walk(idle[4:7]) is None


def test_a_text_of_which_no_use_was_made_again_goes_the_second_time(trees: Forest) -> None:
    tree = trees.tree(DEPTH, 8)
    tree.extend([1, 2, 3, 4])
    tree.close()
    found = tree.walk([2, 3])
    assert found is not None
    tree.use(found[0])
    tree.extend(range(10, 16))
    tree.close()
    assert tree.leaving == [[1, 2, 3, 4]]
    tree.extend(tree.leaving.pop())
    tree.close()
    tree.extend(range(20, 40))
    tree.close()
    assert not tree.leaving
    assert not trees.freeze(tree).used
