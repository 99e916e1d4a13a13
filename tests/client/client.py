"""The vendor's Python client, once round: produces a batch and a single event, reads properties, consumes all of it.

The connection string comes from EVENT_HUB_CONNECTION_STRING; what it saw goes to standard output as one JSON value.
"""

import json
import os
import threading

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient

CONNECTION_STRING = os.environ["EVENT_HUB_CONNECTION_STRING"]
# Larger than a frame: transfers are split in both directions.
LARGE = 300_000


def produce():
    with EventHubProducerClient.from_connection_string(CONNECTION_STRING) as client:
        batch = client.create_batch(partition_key="pump-01")
        for body in ["beat 0", "beat 1", "x" * LARGE]:
            batch.add(EventData(body))
        client.send_batch(batch)
        client.send_event(EventData("single"), partition_id="1")
        hub = client.get_eventhub_properties()
        sizes = [client.get_partition_properties(p)["last_enqueued_sequence_number"] for p in hub["partition_ids"]]
        return {"name": hub["eventhub_name"], "last": sizes}


def consume(count):
    client = EventHubConsumerClient.from_connection_string(CONNECTION_STRING, "$Default")
    events = []

    def on_event(context, event):
        stamp = event.system_properties.get(b"iothub-connection-device-id")
        events.append(
            {
                "partition": context.partition_id,
                "sequence": event.sequence_number,
                "length": len(event.body_as_str()),
                "device": stamp.decode() if stamp else None,
                "last": context.last_enqueued_event_properties["sequence_number"],
            }
        )
        if len(events) == count:
            # Closing waits for this callback, so it takes a thread of its own.
            threading.Thread(target=client.close).start()

    client.receive(on_event=on_event, starting_position="-1", track_last_enqueued_event_properties=True)
    return events


print(json.dumps({"produced": produce(), "consumed": consume(4)}))
