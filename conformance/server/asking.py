"""Tools and a prompt that ask the client back.

The legacy revisions send a request on the call's stream. 2026-07-28 answers the call with what is wanted,
and the client calls again with `inputResponses`.
"""

import json

from content import STRING, answer, form, text
from mcp import types
from mcp.server import ServerRequestContext
from tools import tool

NAME = form(name=STRING)


def elicitation(message, schema):
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(words, max_tokens):
    message = types.SamplingMessage(role="user", content=text(words))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def wanted(state=None, **requests):
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def given(params, key, kind):
    """The client's response by that key, if it is one of this kind."""
    response = (params.input_responses or {}).get(key)
    return response if isinstance(response, kind) else None


# Legacy: requests on the stream


async def elicit(ctx: ServerRequestContext, message, schema):
    result = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    content = json.dumps(result.content or {})
    return answer(text(f"Elicitation completed: action={result.action}, content={content}"))


@tool("test_sampling", "Asks the client's model", form(prompt=STRING))
async def ask_model(ctx, params):
    message = types.SamplingMessage(role="user", content=text(params.arguments["prompt"]))
    result = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return answer(text(f"LLM response: {getattr(result.content, 'text', '')}"))


@tool("test_elicitation", "Asks the user", form(message=STRING))
async def ask_user(ctx, params):
    return await elicit(ctx, params.arguments["message"], form(username=STRING, email=STRING))


@tool("test_elicitation_sep1034_defaults", "Asks the user and proposes answers")
async def ask_with_defaults(ctx, _params):
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await elicit(ctx, "Are these right?", {"type": "object", "properties": properties})


@tool("test_elicitation_sep1330_enums", "Asks the user to choose, in each way to say what there is to choose from")
async def ask_to_choose(ctx, _params):
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
    schema = form(
        untitledSingle={"type": "string", "enum": plain},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": plain}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return await elicit(ctx, "What do you choose?", schema)


# 2026-07-28: what is wanted is the answer

ASK_NAME = elicitation("What is your name?", NAME)


@tool("test_streaming_elicitation", "Asks the user, without a request on the stream")
@tool("test_input_required_result_elicitation", "Asks the user")
async def name_wanted(_ctx, params):
    response = given(params, "user_name", types.ElicitResult)
    if response is None:
        return wanted(user_name=ASK_NAME)
    return answer(text(f"Hello, {(response.content or {}).get('name')}!"))


@tool("test_input_required_result_sampling", "Asks the client's model")
async def model_wanted(_ctx, params):
    response = given(params, "capital_question", types.CreateMessageResult)
    if response is None:
        return wanted(capital_question=sampling("What is the capital of France?", 100))
    return answer(text(f"The model says: {getattr(response.content, 'text', '')}"))


@tool("test_input_required_result_list_roots", "Asks for the client's roots")
async def roots_wanted(_ctx, params):
    response = given(params, "client_roots", types.ListRootsResult)
    if response is None:
        return wanted(client_roots=types.ListRootsRequest())
    return answer(text("Roots: " + ", ".join(str(root.uri) for root in response.roots)))


@tool("test_input_required_result_tampered_state", "Keeps a state with the client, and refuses one that was changed")
@tool("test_input_required_result_request_state", "Keeps a state with the client")
async def state_kept(_ctx, params):
    # A state that did not come from here does not come this far: the boundary refuses it.
    if given(params, "confirm", types.ElicitResult) and params.request_state == "first":
        return answer(text("state-ok"))
    return wanted("first", confirm=elicitation("Please confirm", form(ok={"type": "boolean"})))


@tool("test_input_required_result_multiple_inputs", "Asks for three things at once")
async def three_wanted(_ctx, params):
    asked = {
        "user_name": ASK_NAME,
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    }
    if asked.keys() <= (params.input_responses or {}).keys():
        return answer(text("Got all three."))
    return wanted("asked", **asked)


@tool("test_input_required_result_multi_round", "Asks twice, one after the other")
async def two_rounds(_ctx, params):
    state = params.request_state
    if state is not None and state.startswith("name:") and given(params, "step2", types.ElicitResult):
        color = params.input_responses["step2"].content["color"]
        return answer(text(f"{state.removeprefix('name:')} likes {color}."))
    if state == "begun" and given(params, "step1", types.ElicitResult):
        name = params.input_responses["step1"].content["name"]
        ask_color = elicitation("Step 2: What is your favorite color?", form(color=STRING))
        return wanted(f"name:{name}", step2=ask_color)
    return wanted("begun", step1=elicitation("Step 1: What is your name?", NAME))


@tool("test_input_required_result_capabilities", "Asks for what the client can give")
async def what_the_client_can(ctx, _params):
    capabilities = ctx.session.client_capabilities
    able = {
        "user_name": (capabilities and capabilities.elicitation, ASK_NAME),
        "greeting": (capabilities and capabilities.sampling, sampling("Generate a greeting", 50)),
    }
    return wanted("asked", **{key: request for key, (can, request) in able.items() if can is not None})


async def context_wanted(_ctx, params):
    """The prompt `test_input_required_result_prompt`."""
    response = given(params, "user_context", types.ElicitResult)
    if response is None:
        ask = elicitation("What context should the prompt use?", form(context=STRING))
        return wanted(user_context=ask)
    return [text(f"Use this context: {(response.content or {}).get('context')}")]
