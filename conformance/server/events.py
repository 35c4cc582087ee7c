"""Events of the server's streams, kept so that a client that comes back gets what it missed."""

from mcp.server.streamable_http import EventMessage, EventStore


class Events(EventStore):
    """Keeps all events of all streams, in order; an event's id is its place in the list."""

    def __init__(self):
        self.kept = []

    async def store_event(self, stream_id, message):
        self.kept.append((stream_id, message))
        return str(len(self.kept) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self.kept):
            return None
        last = int(last_event_id)
        stream = self.kept[last][0]
        for number, (where, message) in enumerate(self.kept[last + 1 :], start=last + 1):
            # The event that opens a stream has no message; it is not sent again.
            if where == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
