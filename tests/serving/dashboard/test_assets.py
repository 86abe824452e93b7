"""The page's files: all from this server, cached as long as they stay the same."""

from __future__ import annotations

import gzip
import hashlib
import re
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from tests.serving.harness import house

STATIC = files("serving.dashboard") / "static"
PLOTLY = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


@pytest.fixture(scope="module")
def http() -> TestClient:
    return house(keys={"k3y": "acme"}).http()


def test_the_page_needs_no_key_and_lets_nothing_in_from_elsewhere(http: TestClient) -> None:
    response = http.get("/dashboard")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.split(" ", 1) for each in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_nothing_in_the_page_names_another_host() -> None:
    for entry in STATIC.iterdir():
        text = entry.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:)?//[a-z0-9]+\.[a-z]", text), entry.name


def test_no_script_turns_text_into_html() -> None:
    for entry in STATIC.iterdir():
        text = entry.read_text("utf-8")
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), entry.name


def test_whatever_the_page_names_is_there(http: TestClient) -> None:
    html = http.get("/dashboard").text
    named = set(re.findall(r'(?:src|href|content)="(dashboard/[^"]+)"', html))
    modules = {entry.name for entry in STATIC.iterdir() if entry.name.endswith(".js")}
    found = {name.partition("?")[0].rpartition("/")[2] for name in named}
    assert found == {"icon.svg", "page.css", "plotly.min.js", *modules}
    assert all(http.get(f"/{name}").status_code == 200 for name in named)
    for entry in STATIC.iterdir():
        for module in re.findall(r'from "\./([^"]+)"', entry.read_text("utf-8")):
            response = http.get(f"/dashboard/static/{module}")
            assert (response.status_code, response.headers["content-type"]) == (200, "text/javascript; charset=utf-8"), module


def test_the_library_is_that_of_its_package_and_kept_for_as_long_as_it_is_the_same(http: TestClient) -> None:
    address = re.findall(r'content="(dashboard/static/plotly[^"]+)"', http.get("/dashboard").text)[0]
    response = http.get(f"/{address}", headers={"accept-encoding": "gzip"})
    assert response.content == PLOTLY
    assert response.headers["content-encoding"] == "gzip"
    assert int(response.headers["content-length"]) < len(PLOTLY) / 2
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["etag"].strip('"') == hashlib.sha256(PLOTLY).hexdigest()[:16]
    # under any other address it may change tomorrow
    for other in ("dashboard/static/plotly.min.js", "dashboard/static/plotly.min.js?v=0123456789abcdef"):
        assert http.get(f"/{other}").headers["cache-control"] == "no-cache"


def test_who_has_a_file_is_not_sent_it_again(http: TestClient) -> None:
    first = http.get("/dashboard/static/page.css")
    again = http.get("/dashboard/static/page.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/dashboard/static/main.js", headers={"if-none-match": first.headers["etag"]}).status_code == 200


@pytest.mark.parametrize(
    ("accepts", "packed"), [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("", False), ("gzip;q=0", False)]
)
def test_files_are_packed_for_who_can_unpack_them(http: TestClient, accepts: str, packed: bool) -> None:
    with http.stream("GET", "/dashboard/static/page.css", headers={"accept-encoding": accepts}) as response:
        raw = b"".join(response.iter_raw())
    assert (response.headers.get("content-encoding") == "gzip") is packed
    assert (gzip.decompress(raw) if packed else raw) == (STATIC / "page.css").read_bytes()
    assert "accept-encoding" in response.headers["vary"]


@pytest.mark.parametrize("name", ["none.js", "../routes.py", "..%2Froutes.py", "%2e%2e/assets.py", "index.html/..", ""])
def test_nothing_else_is_served(http: TestClient, name: str) -> None:
    assert http.get(f"/dashboard/static/{name}").status_code == 404


def test_the_other_way_to_write_the_address_leads_there(http: TestClient) -> None:
    assert http.get("/dashboard/", follow_redirects=False).headers["location"] == "../dashboard"
