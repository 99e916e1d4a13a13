// The vendor's Event Hubs client, as a program that a test can drive: what it is told comes as JSON in the second
// argument, what it saw goes to standard output as one JSON value.
//   node client.mjs produce '[{"partitionKey": "pump-01", "events": [{"body": "", "properties": {}}]}]'
//   node client.mjs properties
//   node client.mjs consume '{"count": 4, "from": "earliest"}'
//   node client.mjs steal '{"partition": "0"}'
import { EventHubConsumerClient, EventHubProducerClient, earliestEventPosition } from "@azure/event-hubs";

const connectionString = process.env.EVENT_HUB_CONNECTION_STRING;
const group = "$Default";

function producer() {
  return new EventHubProducerClient(connectionString);
}

function consumer() {
  return new EventHubConsumerClient(group, connectionString);
}

// Sends each entry as one batch: its partition key or id, and its events.
async function produce(batches) {
  const client = producer();
  for (const { partitionKey, partitionId, events } of batches) {
    const batch = await client.createBatch({ partitionKey, partitionId });
    for (const event of events) {
      if (!batch.tryAdd(event)) throw new Error("an event does not fit into a batch");
    }
    await client.sendBatch(batch);
  }
  await client.close();
  return { sent: batches.length };
}

async function properties() {
  const client = producer();
  const hub = await client.getEventHubProperties();
  const partitions = [];
  for (const id of hub.partitionIds) partitions.push(await client.getPartitionProperties(id));
  await client.close();
  return { hub, partitions };
}

// Reads all partitions until `count` events came, with the runtime metric on.
async function consume({ count }) {
  const client = consumer();
  const events = [];
  await new Promise((resolve, reject) => {
    client.subscribe(
      {
        processEvents: async (received, context) => {
          for (const event of received) {
            events.push({
              partition: context.partitionId,
              body: Buffer.isBuffer(event.body) ? event.body.toString() : event.body,
              properties: event.properties ?? {},
              systemProperties: event.systemProperties ?? {},
              sequenceNumber: event.sequenceNumber,
              offset: event.offset,
              partitionKey: event.partitionKey ?? null,
              enqueued: event.enqueuedTimeUtc.getTime(),
              last: context.lastEnqueuedEventProperties ?? null,
            });
          }
          if (events.length >= count) resolve();
        },
        processError: async (error) => reject(error),
      },
      { startPosition: earliestEventPosition, trackLastEnqueuedEventProperties: true },
    );
  });
  await client.close();
  return events;
}

// One reader with owner level 1, then one with level 2 on the same partition: what the first one is told.
async function steal({ partition }) {
  const first = consumer();
  const second = consumer();
  const seen = { first: 0, second: 0 };
  const told = await new Promise((resolve) => {
    const options = (ownerLevel) => ({ startPosition: earliestEventPosition, ownerLevel });
    first.subscribe(
      partition,
      {
        processEvents: async (events) => {
          if (events.length === 0 || seen.first > 0) return;
          seen.first += events.length;
          second.subscribe(
            partition,
            {
              processEvents: async (later) => void (seen.second += later.length),
              processError: async (error) => resolve({ second: error.code ?? String(error) }),
            },
            options(2),
          );
        },
        processError: async (error) => resolve({ first: error.code ?? String(error) }),
      },
      options(1),
    );
  });
  const deadline = Date.now() + 20_000;
  while (seen.second === 0 && Date.now() < deadline) await new Promise((r) => setTimeout(r, 20));
  await Promise.all([first.close(), second.close()]);
  return { told, seen };
}

// Devices that beat with empty bodies, one batch each; one of them stops.
async function heartbeat({ devices, interval_ms, stops, stops_after_ms, duration_ms }) {
  const client = producer();
  const start = Date.now();
  let sent = 0;
  while (Date.now() - start < duration_ms) {
    for (const partitionKey of devices) {
      if (partitionKey === stops && Date.now() - start > stops_after_ms) continue;
      const batch = await client.createBatch({ partitionKey });
      if (!batch.tryAdd({ body: "" })) throw new Error("a heartbeat does not fit into a batch");
      await client.sendBatch(batch);
      sent += 1;
    }
    await new Promise((r) => setTimeout(r, interval_ms));
  }
  await client.close();
  return { sent };
}

const commands = { produce, properties, consume, steal, heartbeat };
const [name, argument] = process.argv.slice(2);
const result = await commands[name](argument === undefined ? undefined : JSON.parse(argument));
console.log(JSON.stringify(result));
