"""What the server's tools, prompts and resources are made of: contents in MCP's types."""

import base64
import struct
import zlib

from mcp import types


def png():
    """A picture of one white pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\xff")) + chunk(b"IEND", b"")


def wav():
    """A sound of one silent sample."""
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    data = b"\x80\0"
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 1) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


PNG = base64.b64encode(png()).decode()
WAV = base64.b64encode(wav()).decode()


def text(words):
    return types.TextContent(type="text", text=words)


def image():
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def audio():
    return types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")


def embedded(uri, words, mime_type="text/plain"):
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


def answer(*content, is_error=False):
    """The result of a tool."""
    return types.CallToolResult(content=list(content), is_error=is_error)


def form(**properties):
    """The schema of an object in which each of `properties` must be there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


STRING = {"type": "string"}
