"""The MCP server, asked by the SDK's own client: in this process, and as a command."""

import os
import sys

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client

import neuromfa
from neuromfa.service.mcp_server import create_server
from serving import settings_for, write_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("mcp")
    write_models(found)
    return found


def asked(folder, session):
    """Run a session of a client with the server in this process."""

    async def run():
        async with Client(create_server(settings_for(folder))) as client:
            return await session(client)

    return anyio.run(run)


def test_tools_say_what_they_do(folder):
    async def session(client):
        return (await client.list_tools()).tools, client.instructions

    tools, instructions = asked(folder, session)
    assert {tool.name for tool in tools} == {"roots", "plan", "analyse", "compare", "suite_status"}
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint
        assert "context" not in tool.input_schema.get("properties", {})
    assert "ROOT/PATH" in instructions
    analyse = next(tool for tool in tools if tool.name == "analyse")
    assert "ProtocolSettings" in analyse.input_schema["$defs"]


def test_answers_are_those_of_the_library(folder):
    told = []

    async def session(client):
        async def progress(done, total, _message):
            told.append((done, total))

        async def call(name, **arguments):
            found = await client.call_tool(name, arguments, progress_callback=progress)
            assert not found.is_error, found.content
            return found.structured_content

        step0, step8 = "models/tiny/step0", "models/tiny/step8"
        return (
            await call("roots"),
            await call("plan", checkpoint=step8),
            await call("analyse", checkpoint=step8, protocol={"cutoff": 100, "q": [-1, 0, 1]}),
            await call("compare", a=step0, b=step8),
            await call("suite_status", suite="models/suite.toml"),
        )

    roots, plan, analysis, comparison, status = asked(folder, session)
    assert roots == {"roots": ["models"]}
    assert plan["weights"] == 3 * 24 * 24 * 12
    protocol = neuromfa.Protocol(cutoff=100, q=(-1, 0, 1))
    own = neuromfa.analyse(folder / "models/tiny/step8", protocol)
    assert analysis["network"]["alpha_0"] == own.network.alpha_0
    assert analysis["network"]["width"] == own.network.width
    assert list(analysis["roles"]) == [group.name for group in own.roles]
    assert {n: b["alpha_0"] for n, b in analysis["blocks"].items()} == {
        group.name: group.alpha_0 for group in own.blocks
    }
    assert comparison["difference"]["alpha_0"] != 0
    assert status["states"] == {"pending": 2}
    assert all(0 <= done <= total == 1 for done, total in told)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("analyse", {"checkpoint": "/etc/passwd"}, "not below a root"),
        ("analyse", {"checkpoint": "models/../models/tiny/step0"}, "not below a root"),
        ("plan", {"checkpoint": "org/name"}, "not below a root"),
        ("plan", {"checkpoint": "models/nothing"}, "nothing of that name"),
        ("plan", {"checkpoint": "models"}, "has no safetensors files"),
        ("plan", {"checkpoint": "models/link"}, "nothing of that name"),
        ("analyse", {"checkpoint": "models/tiny/step0", "protocol": {"cutoff": 1}}, "cutoff 1"),
        ("analyse", {"checkpoint": "models/tiny/step0", "protocol": {"cutof": 9}}, "cutof"),
        ("suite_status", {"suite": "models/tiny/step0"}, "give a suite file"),
        ("compare", {"a": "models/tiny/step0"}, "b"),
    ],
)
def test_errors_are_sentences(folder, tool, arguments, message):
    link = folder / "models/link"
    if not link.is_symlink():
        link.symlink_to("/etc")

    async def session(client):
        return await client.call_tool(tool, arguments)

    found = asked(folder, session)
    assert found.is_error
    assert message in found.content[0].text
    assert str(folder) not in found.content[0].text


def test_command(folder):
    """Over standard input and output, as a language model's program starts it."""
    command = ["-m", "neuromfa", "mcp", f"--root=models={folder / 'models'}"]
    server = StdioServerParameters(command=sys.executable, args=command, env=environment())

    async def session():
        async with Client(stdio_client(server)) as client:
            return await client.call_tool("plan", {"checkpoint": "models/tiny/step0"})

    found = anyio.run(session)
    assert found.structured_content["layers"] == 12


def environment():
    """The client gives a server little of its own environment."""
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
