"""Configuration: which source wins, what is refused, and what an error tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.config import load
from cli.errors import ConfigError
from cli.options import Option, options
from cli.values import from_text, to_text

OPTIONS = {option.key: option for option in options()}


def toml(folder: Path, text: str) -> Path:
    file = folder / "everdraft.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, environ or {}, file)
    return str(caught.value)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, "[server]\nport = 1\nhost = 'file'\nserved_model_name = 'file'\n")
    environ = {"EVERDRAFT_PORT": "2", "EVERDRAFT_HOST": "environment"}
    config = load({"port": "3"}, environ, file)
    assert config.server.port == 3
    assert config.server.host == "environment"
    assert config.server.served_model_name == "file"
    assert config.server.max_in_flight == OPTIONS["server.max_in_flight"].default
    origins = {option.key: setting.origin for option, setting in config.settings.items()}
    assert origins["server.port"] == "--port"
    assert origins["server.host"] == "EVERDRAFT_HOST"
    assert origins["server.served_model_name"] == str(file)
    assert origins["server.max_in_flight"] == "default"


def test_the_environment_names_the_file_and_a_flag_names_another(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2\n")
    environ = {"EVERDRAFT_CONFIG": str(toml(tmp_path, "[server]\nport = 1\n"))}
    assert load({}, environ).server.port == 1
    assert load({}, environ, other).server.port == 2


def test_everything_is_kept_in_the_data_folder_unless_placed_elsewhere() -> None:
    config = load({"data": "/srv/ever"}, {})
    assert config.traffic_url == "sqlite:////srv/ever/traffic.db"
    assert config.registry.url == config.engine.registry == "sqlite:////srv/ever/registry.db"
    assert config.registry.checkpoints == config.engine.checkpoints == "/srv/ever/checkpoints"
    elsewhere = load({"data": "/srv/ever", "registry": "sqlite:///r.db", "traffic": "sqlite:///t.db"}, {})
    assert elsewhere.engine.registry == "sqlite:///r.db"
    assert elsewhere.traffic_url == "sqlite:///t.db"


def test_the_engine_gets_the_target_that_the_target_section_names() -> None:
    flags = {"target": "owner/name", "revision": "a" * 40, "dtype": "bfloat16", "device": "cuda:1"}
    engine = load(flags, {}).engine
    assert (engine.target, engine.revision, engine.dtype, engine.device) == tuple(flags.values())
    assert Path(load({}, {}).engine.target, "config.json").exists(), "the bundled target is the default"


def test_int8_reaches_engine_and_trainer_and_is_for_a_cpu_alone() -> None:
    config = load({"dtype": "int8", "trainer_dtype": "bfloat16"}, {})
    assert (config.engine.dtype, config.trainer.served_dtype) == ("int8", "int8")
    expected = "target.dtype is 'int8', expected float32 or bfloat16 on cuda: int8 runs on a CPU only (from --dtype)"
    assert refusal({"dtype": "int8", "device": "cuda"}) == expected
    assert "trainer.device is 'cuda', expected cpu" in refusal({"dtype": "int8", "trainer_device": "cuda"})


def test_the_trainer_learns_for_what_the_engine_serves(tmp_path: Path) -> None:
    file = tmp_path / "everdraft.toml"
    engine = '[engine]\nheads = "h"\ndraft = "d"\nssd_lookahead = 6\n'
    file.write_text(f'{engine}[trainer]\nkind = "draft-lm"\n')
    trainer = load({}, {}, file).trainer
    assert (trainer.kind, trainer.heads, trainer.draft, trainer.lookahead) == ("draft-lm", "h", "d", 6)
    assert load({"trainer_kind": "medusa"}, {}, file).trainer.kind == "medusa"
    assert load({}, {"EVERDRAFT_TRAINER_KIND": "medusa"}, file).trainer.kind == "medusa"


def test_without_a_traffic_log_there_is_no_url() -> None:
    assert load({"traffic": "off"}, {}).traffic_url is None


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("EVERDRAFT_PROT", "EVERDRAFT_PORT"),
        ("EVERDRAFT_ENGINE_MAX_RUNING", "EVERDRAFT_ENGINE_MAX_RUNNING"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_near_one_named(variable: str, near: str) -> None:
    assert refusal(environ={variable: "1"}) == f"{variable} is not an option; did you mean {near}?"


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load({}, {"PORT": "1", "XEVERDRAFT_PORT": "1"}).server.port == 8000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1\n", "server.prot is not an option; did you mean server.port?"),
        ("port = 1\n", "port is not an option; did you mean server.port?"),
        ("[sever]\nport = 1\n", "[sever] is not a section; did you mean server?"),
        ("server = 1\n", "server is 1, expected a section: [server]"),
        ("[engine]\ntarget = 'x'\n", "engine.target is not an option"),
        ("[server\n", "cannot be used, expected a TOML file"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(text: str, told: str, tmp_path: Path) -> None:
    file = toml(tmp_path, text)
    message = refusal(file=file)
    assert told in message
    assert str(file) in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "missing.toml cannot be used" in refusal(file=tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("EVERDRAFT_PORT", "http", "server.port is 'http', expected a whole number (from EVERDRAFT_PORT)"),
        ("EVERDRAFT_PORT", "65536", "server.port is 65536, expected 0 to 65535 (from EVERDRAFT_PORT)"),
        ("EVERDRAFT_TRAFFIC_MAX_AGE", "nan", "traffic.max_age is 'nan', expected a number"),
        ("EVERDRAFT_TRAFFIC_MAX_AGE", "-1", "traffic.max_age is -1.0, expected more than 0"),
        ("EVERDRAFT_DTYPE", "int4", "target.dtype is 'int4', expected one of float32, bfloat16, int8 (from EVERDRAFT_DTYPE)"),
        ("EVERDRAFT_TRAFFIC_POLICY", "all", "traffic.policy is 'all', expected one of off, tenant, shared"),
        ("EVERDRAFT_TRAFFIC_TENANTS", "a=all", "expected one of off, tenant, shared"),
        ("EVERDRAFT_ENGINE_SOURCES", "medusa,oracle", "engine.sources has oracle, expected only medusa, hydra, eagle"),
        ("EVERDRAFT_ENGINE_SOURCES", "rest", "engine.sources has rest, expected a folder for it in rest"),
        ("EVERDRAFT_ENGINE_SSD_LISTEN", "7000", "engine.ssd_listen is '7000', expected HOST:PORT of one address of this host"),
        ("EVERDRAFT_ENGINE_SSD_LISTEN", "0.0.0.0:7000", "0.0.0.0 is all of them"),
        ("EVERDRAFT_ENGINE_MAX_RUNNING", "0", "engine.max_running is 0, expected at least 1"),
    ],
)
def test_a_wrong_value_is_told_with_key_value_origin_and_expectation(variable: str, text: str, told: str) -> None:
    message = refusal(environ={variable: text})
    assert message.startswith(told.partition(" ")[0]) or told in message
    assert told in message
    assert message.endswith(f"(from {variable})")


@pytest.mark.parametrize(
    "text",
    [
        "port = '1'",
        "port = 1.5",
        "port = true",
        "host = 1",
        "cors_origins = 'x'",
        "cors_origins = [1]",
        "api_keys = ['x']",
        "api_keys = {x = 1}",
    ],
)
def test_a_value_of_the_wrong_type_in_a_file_is_refused(text: str, tmp_path: Path) -> None:
    message = refusal(file=toml(tmp_path, f"[server]\n{text}\n"))
    assert message.startswith(f"server.{text.partition(' ')[0]} is")


def test_tables_and_lists_read_alike_from_file_and_environment(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        "[server]\ncors_origins = ['https://a', 'https://b']\n"
        "[server.api_keys]\nsk-1 = 'search'\nsk-2 = 'mobile'\n[traffic.tenants]\nsearch = 'off'\n",
    )
    environ = {
        "EVERDRAFT_CORS_ORIGINS": "https://a,https://b",
        "EVERDRAFT_API_KEYS": "sk-1=search,sk-2=mobile",
        "EVERDRAFT_TRAFFIC_TENANTS": "search=off",
    }
    from_file, from_environment = load({}, {}, file), load({}, environ)
    assert from_file.server == from_environment.server
    assert from_file.traffic == from_environment.traffic
    assert from_file.server.api_keys == {"sk-1": "search", "sk-2": "mobile"}


def test_a_key_may_hold_the_sign_that_divides_it_from_its_tenant() -> None:
    config = load({}, {"EVERDRAFT_API_KEYS": "c2VjcmV0==search"})
    assert config.server.api_keys == {"c2VjcmV0=": "search"}


def test_a_secret_can_come_from_a_file_in_every_layer(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("sk-1 = search\nsk-2 = mobile\n")
    expected = {"sk-1": "search", "sk-2": "mobile"}
    assert load({"api_keys_file": str(keys)}, {}).server.api_keys == expected
    assert load({}, {"EVERDRAFT_API_KEYS_FILE": str(keys)}).server.api_keys == expected
    file = toml(tmp_path, f"[server]\napi_keys_file = '{keys}'\n")
    assert load({}, {}, file).server.api_keys == expected


def test_a_secret_given_twice_in_one_layer_or_in_a_missing_file_is_refused(tmp_path: Path) -> None:
    twice = {"EVERDRAFT_API_KEYS": "sk-1=a", "EVERDRAFT_API_KEYS_FILE": "keys"}
    assert "given as a value and as a file" in refusal(environ=twice)
    missing = {"EVERDRAFT_API_KEYS_FILE": str(tmp_path / "missing")}
    assert "expected a file that can be read" in refusal(environ=missing)
    assert "is not an option" in refusal(environ={"EVERDRAFT_PORT_FILE": "x"})


def test_no_error_and_no_listing_shows_a_secret() -> None:
    assert "sk-secret" not in refusal(environ={"EVERDRAFT_API_KEYS": "sk-secret"})
    assert "sk-secret" not in refusal(environ={"EVERDRAFT_API_KEYS": "sk-secret="})
    environ = {
        "EVERDRAFT_API_KEYS": "sk-secret=a",
        "EVERDRAFT_REGISTRY": "redis://user:sk-secret@host:6379/0",
    }
    shown = [setting.shown(option) for option, setting in load({}, environ).settings.items()]
    assert not any("sk-secret" in text for text in shown)
    assert "redis://…@host:6379/0" in shown


@given(st.integers(0, 65535))
def test_any_port_there_is_reads_back_as_itself(port: int) -> None:
    assert load({}, {"EVERDRAFT_PORT": str(port)}).server.port == port


@given(st.text(max_size=20))
def test_any_text_for_a_number_is_read_or_refused_by_name(text: str) -> None:
    try:
        right = int(text) > 0
    except ValueError:
        right = False
    if right:
        assert load({"engine_max_running": text}, {}).engine.max_running == int(text)
    else:
        assert "engine.max_running is" in refusal({"engine_max_running": text})


_WORD = st.text("abcXYZ019_.-:/*", min_size=1, max_size=12)
_VALUES = {
    "server.host": _WORD,
    "server.cors_origins": st.lists(_WORD, max_size=4).map(tuple),
    "server.api_keys": st.dictionaries(_WORD, _WORD, max_size=4),
    "traffic.max_age": st.floats(1e-3, 1e9),
    "traffic.tenants": st.dictionaries(_WORD, st.sampled_from(("off", "tenant", "shared")), max_size=4),
    "target.revision": st.none() | _WORD,
}


@given(st.sampled_from(sorted(_VALUES)).flatmap(lambda key: st.tuples(st.just(key), _VALUES[key])))
def test_a_value_written_as_text_reads_back_as_itself(case: tuple[str, object]) -> None:
    key, value = case
    assert from_text(to_text(value), OPTIONS[key].kind) == value


def every(option: Option) -> str:
    return option.key


@pytest.mark.parametrize("option", options(), ids=every)
def test_every_option_says_what_it_is_for(option: Option) -> None:
    assert option.help, f"{option.key}: its field has no docstring"


def test_no_two_options_share_a_name() -> None:
    names = [option.name for option in options()]
    assert len(set(names)) == len(names)
    assert "config" not in names, "EVERDRAFT_CONFIG names the file"
