"""The server's tools, by the names that the conformance suite calls; `asking` adds those that ask back."""

import asyncio

from content import STRING, answer, audio, embedded, form, image, text
from mcp import types
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

TOOLS = {}  # name: (what tools/list says of it, the function that runs it)
LISTENERS = InMemorySubscriptionBus()  # those who called subscriptions/listen
PAUSE = 0.05  # seconds between two notifications


def tool(name, description, schema=None):
    """Registers a function `(ctx, params) -> result` as a tool; without a schema it takes no arguments."""

    def register(run):
        listed = types.Tool(name=name, description=description, input_schema=schema or {"type": "object"})
        TOOLS[name] = (listed, run)
        return run

    return register


def schema_of(name):
    return TOOLS[name][0].input_schema if name in TOOLS else None


async def list_tools(_ctx, _params):
    return types.ListToolsResult(tools=[listed for listed, _ in TOOLS.values()])


async def call_tool(ctx, params):
    if params.name not in TOOLS:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    return await TOOLS[params.name][1](ctx, params)


# Contents


@tool("test_simple_text", "Answers a text")
async def simple_text(_ctx, _params):
    return answer(text("This is a simple text response for testing."))


@tool("test_image_content", "Answers a picture")
async def image_content(_ctx, _params):
    return answer(image())


@tool("test_audio_content", "Answers a sound")
async def audio_content(_ctx, _params):
    return answer(audio())


@tool("test_embedded_resource", "Answers a resource")
async def embedded_resource(_ctx, _params):
    return answer(embedded("test://embedded-resource", "This is an embedded resource content."))


@tool("test_multiple_content_types", "Answers a text, a picture and a resource")
async def multiple_content_types(_ctx, _params):
    resource = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return answer(text("Multiple content types test:"), image(), resource)


@tool("test_error_handling", "Fails")
async def error_handling(_ctx, _params):
    return answer(text("This tool intentionally returns an error for testing"), is_error=True)


# Notifications on the stream of the call


async def log(ctx, words):
    await ctx.session.send_log_message("info", words, related_request_id=ctx.request_id)


@tool("test_tool_with_logging", "Logs three times")
async def with_logging(ctx, _params):
    for state in ("started", "processing", "completed"):
        await log(ctx, "Tool processing data" if state == "processing" else f"Tool execution {state}")
        await asyncio.sleep(PAUSE)
    return answer(text("Logged."))


@tool("test_logging_tool", "Logs once, if the request asks for it")
async def logging_tool(ctx, _params):
    await log(ctx, "Tool execution started")
    return answer(text("Logged."))


@tool("test_tool_with_progress", "Reports its progress")
async def with_progress(ctx, _params):
    for percent in (0, 50, 100):
        await ctx.session.report_progress(percent, 100)
        await asyncio.sleep(PAUSE)
    return answer(text("Done."))


@tool("test_reconnection", "Closes its stream before it answers; the answer is for who comes back")
async def reconnection(ctx, _params):
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(4 * PAUSE)
    return answer(text("Reconnected."))


# Lists that change


@tool("test_trigger_tool_change", "Tells who listens that the list of tools has changed")
async def trigger_tool_change(_ctx, _params):
    await LISTENERS.publish(ToolsListChanged())
    return answer(text("Told."))


@tool("test_trigger_prompt_change", "Tells who listens that the list of prompts has changed")
async def trigger_prompt_change(_ctx, _params):
    await LISTENERS.publish(PromptsListChanged())
    return answer(text("Told."))


# Headers, capabilities, schemas


@tool(
    "test_x_mcp_header",
    "Has an argument that clients repeat in the header Mcp-Param-Region",
    {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
)
async def mirrored_argument(_ctx, params):
    return answer(text(f"region: {(params.arguments or {}).get('region')}"))


@tool("test_missing_capability", "Needs a client that can sample")
async def missing_capability(ctx, _params):
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "the client can't sample", data=needed)
    return answer(text("The client can sample."))


@tool(
    "json_schema_2020_12_tool",
    "Has a schema with words that JSON Schema 2020-12 knows",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "address", **form(city=STRING)}},
        "properties": {"email": STRING, "phone": STRING, "address": {"$ref": "#/$defs/address"}},
        "allOf": [{"anyOf": [{"required": ["email"]}, {"required": ["phone"]}]}],
        "if": {"required": ["phone"]},
        "then": {"required": ["address"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def full_schema(_ctx, _params):
    return answer(text("Fits the schema."))
