// A lane for each subscription, with kafkajs and undici: its events one after the other, all lanes side by side.
//
//     node lanes.mjs BOOTSTRAP TOPIC GROUP URL READ_TIMEOUT_MS
//
// At-least-once as it is usually written: a batch is committed when all of it has been answered with a success, so a
// lane that stands still holds up its partition's next batch. What fails is tried again after one to two seconds.
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { Agent, request } from 'undici'

const [bootstrap, topic, groupId, url, readTimeoutMs] = process.argv.slice(2)
const HEADERS = { 'content-type': 'application/json', 'user-agent': 'node-lanes' }
const dispatcher = new Agent({
  connections: 200,
  connectTimeout: 3000,
  headersTimeout: Number(readTimeoutMs),
  bodyTimeout: Number(readTimeoutMs),
})

let running = true

async function post(key, value) {
  for (let tries = 1; running; tries += 1) {
    try {
      const { statusCode, body } = await request(`${url}/${key}`, {
        method: 'POST',
        headers: HEADERS,
        body: value,
        dispatcher,
      })
      await body.dump()
      if (statusCode >= 200 && statusCode < 300) return
    } catch (error) {
      console.error(`${key}: ${error.message}`)
    }
    await sleep(Math.min(1000 * tries, 2000))
  }
}

async function eachBatch({ batch, heartbeat, resolveOffset, commitOffsetsIfNecessary }) {
  const lanes = new Map()
  for (const message of batch.messages) {
    const key = message.key.toString()
    const lane = lanes.get(key)
    if (lane === undefined) lanes.set(key, [message.value])
    else lane.push(message.value)
  }
  const beating = setInterval(() => heartbeat().catch(() => {}), 3000)
  try {
    await Promise.all(
      Array.from(lanes, async ([key, values]) => {
        for (const value of values) {
          if (!running) return
          await post(key, value)
        }
      }),
    )
  } finally {
    clearInterval(beating)
  }
  if (!running) return
  resolveOffset(batch.lastOffset())
  await commitOffsetsIfNecessary()
}

const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId, sessionTimeout: 10000, maxWaitTimeInMs: 100 })
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await consumer.run({
  eachBatch,
  eachBatchAutoResolve: false,
  autoCommitInterval: 1000,
  partitionsConsumedConcurrently: 8,
})
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    running = false
    await consumer.disconnect()
    process.exit(0)
  })
}
