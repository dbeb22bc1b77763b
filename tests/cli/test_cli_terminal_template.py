"""The Go templates people type after --format."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.cli.terminal.template import render
from argosy.errors import UsageError

VALUE = {
    "name": "host/app:v1",
    "manifest": {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": "sha256:1",
        "manifests": [
            {"digest": "sha256:a", "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "sha256:b"},
        ],
    },
    "image": {"config": {"Labels": {"org.example": "yes"}, "Env": ["A=1", "B=2"]}},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}}", "host/app:v1"),
        ("{{ .Manifest.Digest }}", "sha256:1"),
        ("{{.Manifest.MediaType}}", "application/vnd.oci.image.index.v1+json"),
        ("{{json .Image.Config.Env}}", '["A=1", "B=2"]'),
        ("{{.Name | json}}", '"host/app:v1"'),
        ('{{index .Image.Config.Labels "org.example"}}', "yes"),
        ("{{(index .Manifest.Manifests 1).Digest}}", None),
        ("{{len .Manifest.Manifests}}", "2"),
        ("{{range .Manifest.Manifests}}{{.Digest}} {{end}}", "sha256:a sha256:b "),
        ("{{range .Image.Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .Image}}image{{else}}none{{end}}", "image"),
        ('{{if eq .Name "x"}}x{{else}}other{{end}}', "other"),
        ("{{.Missing.Field}}", "<no value>"),
        ('{{join .Image.Config.Env ","}}', "A=1,B=2"),
        ("{{json (index .Manifest.Manifests 1)}}", '{"digest": "sha256:b"}'),
        ("{{range .Manifest.Manifests}}{{$.Name}};{{end}}", "host/app:v1;host/app:v1;"),
        ("a\\tb\\n", "a\tb\n"),
        ("plain", "plain"),
        ("a  {{- .Name -}}  b", "ahost/app:v1b"),
    ],
)
def test_templates_give_what_go_gives(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(UsageError):
            render(template, VALUE)
    else:
        assert render(template, VALUE) == text


@pytest.mark.parametrize(
    "template",
    ["{{", "{{}}", "{{.A", "{{end}}", "{{range .X}}", "{{nope .A}}", "{{(.A}}", "{{.A)}}", "{{len 3}}", '{{"a}}', "{{index .Name 99}}", "{{range .Name}}{{end}}", "{{|}}", "{{.A .B}}"],
)  # fmt: skip
def test_what_is_no_template_is_a_usage_error(template: str) -> None:
    with pytest.raises(UsageError) as caught:
        render(template, VALUE)
    assert caught.value.why


WORDS = st.sampled_from(
    ["{{", "}}", "(", ")", "|", ".", "$", ".Name", "range ", "if ", "end", "else", "json ", "len ", "index ", '"', "`", "0", "-", " ", "x", "\\"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=14).map("".join))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    try:
        render(template, VALUE)
    except UsageError:
        return


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))  # fmt: skip
def test_json_gives_back_any_value(value: object) -> None:
    assert json.loads(render("{{json .}}", value)) == value
