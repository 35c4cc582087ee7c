"""MCP server that the conformance suite is run against, directly and through the gate.

It has the tools, prompts and resources that the suite calls by name, over streamable HTTP, for 2026-07-28 and
the legacy revisions, on the official Python SDK. It checks no caller: that is the gate's work. With PAGE_SIZE it lists
so many entries at once, and the rest by cursors.
"""

import asyncio
import json
import os

import uvicorn
from asking import context_wanted
from content import PNG, embedded, image, text
from events import Events
from mcp import types
from mcp.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from tools import LISTENERS, PAUSE, call_tool, list_tools, schema_of

NAME = "mcp-iap-conformance"
RETRY_MS = 100  # how soon a client comes back whose stream was closed
PAGE_SIZE = int(os.environ.get("PAGE_SIZE", 0))  # entries; 0: all at once
SLOW = "slow"  # the cursor of a first page that takes its time

# Prompts: name: (arguments, the function that makes the messages' contents)


async def simple(_ctx, _params):
    return [text("This is a simple prompt for testing.")]


async def with_arguments(_ctx, params):
    return [text("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'".format(**params.arguments))]


async def with_resource(_ctx, params):
    resource = embedded(params.arguments["resourceUri"], "Embedded resource content for testing.")
    return [resource, text("Please process the embedded resource above.")]


async def with_image(_ctx, _params):
    return [image(), text("Please analyze the image above.")]


PROMPTS = {
    "test_simple_prompt": ([], simple),
    "test_prompt_with_arguments": (["arg1", "arg2"], with_arguments),
    "test_prompt_with_embedded_resource": (["resourceUri"], with_resource),
    "test_prompt_with_image": ([], with_image),
    "test_input_required_result_prompt": ([], context_wanted),
}


async def list_prompts(_ctx, _params):
    def listed(name, arguments):
        needed = [types.PromptArgument(name=argument, required=True) for argument in arguments]
        return types.Prompt(name=name, description=f"The prompt {name}", arguments=needed)

    return types.ListPromptsResult(prompts=[listed(name, arguments) for name, (arguments, _) in PROMPTS.items()])


async def get_prompt(ctx, params):
    arguments, make = PROMPTS.get(params.name, (None, None))
    if make is None or not set(arguments) <= (params.arguments or {}).keys():
        raise MCPError(types.INVALID_PARAMS, f"no such prompt, or without its arguments: {params.name}")
    made = await make(ctx, params)
    if isinstance(made, types.InputRequiredResult):
        return made
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content) for content in made])


async def complete(_ctx, _params):
    return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


# Resources: URI: (media type, content)

RESOURCES = {
    "test://static-text": ("text/plain", {"text": "This is the content of the static text resource."}),
    "test://static-binary": ("image/png", {"blob": PNG}),
    "test://watched-resource": ("text/plain", {"text": "This may change."}),
}
TEMPLATE = ("test://template/", "/data")


async def list_resources(_ctx, _params):
    def listed(uri, mime_type):
        name = uri.removeprefix("test://")
        return types.Resource(uri=uri, name=name, description=f"The resource {name}", mime_type=mime_type)

    return types.ListResourcesResult(resources=[listed(uri, mime_type) for uri, (mime_type, _) in RESOURCES.items()])


async def list_templates(_ctx, _params):
    template = types.ResourceTemplate(
        name="template", uri_template="{id}".join(TEMPLATE), description="Data by id", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_ctx, params):
    uri = str(params.uri)
    mime_type, content = RESOURCES.get(uri, (None, None))
    if content is None and uri.startswith(TEMPLATE[0]) and uri.endswith(TEMPLATE[1]):
        which = uri.removeprefix(TEMPLATE[0]).removesuffix(TEMPLATE[1])
        data = {"id": which, "templateTest": True, "data": f"Data for ID: {which}"}
        mime_type, content = "application/json", {"text": json.dumps(data)}
    if content is None:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", data={"uri": uri})
    kind = types.TextResourceContents if "text" in content else types.BlobResourceContents
    return types.ReadResourceResult(contents=[kind(uri=uri, mime_type=mime_type, **content)])


def in_pages(member, list_all):
    """What lists a page of what `list_all` lists, from the place that the cursor says."""

    async def list_page(ctx, params):
        result = await list_all(ctx, params)
        cursor = getattr(params, "cursor", None)
        if cursor == SLOW:
            await asyncio.sleep(PAUSE)
        if not PAGE_SIZE:
            return result
        start = int(cursor) if cursor and cursor != SLOW else 0
        end = start + PAGE_SIZE
        entries = getattr(result, member)
        following = str(end) if end < len(entries) else None
        return result.model_copy(update={member: entries[start:end], "next_cursor": following})

    return list_page


async def accept(_ctx, _params):
    """Takes note of nothing: no scenario looks at what would follow."""
    return types.EmptyResult()


def make():
    server = Server(
        NAME,
        version="1",
        get_tool_input_schema=schema_of,
        on_list_tools=in_pages("tools", list_tools),
        on_call_tool=call_tool,
        on_list_prompts=in_pages("prompts", list_prompts),
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_list_resources=in_pages("resources", list_resources),
        on_list_resource_templates=in_pages("resource_templates", list_templates),
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_subscriptions_listen=ListenHandler(LISTENERS),
    )
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)
    # What a client keeps for the server is sealed, and refused if it was changed.
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)


if __name__ == "__main__":
    uvicorn.run(
        make(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
