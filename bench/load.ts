// The load, a process of its own so that it takes nothing from the server: N connections that each do one pair of
// requests after the other (closed loop), or pairs that begin at given instants whatever the server does (`--rate`).
// Of several servers (`--port 8080,8081`) each caller asks one after the other.
// It ends by itself and prints one line of JSON. `main.ts` starts it; by hand:
//   node bench/load.ts --mode echo --port 8080 --connections 32 --seconds 5
import { parseArgs } from 'node:util';
import { Caller } from './caller.ts';
import { CodeReader } from './code-file.ts';
import type { Answer } from './http-connection.ts';
import { Latencies, type LatencySummary } from './latencies.ts';
import { addressAt, numberAt } from './number-pool.ts';
import { readCpuBusySeconds, readProcessStats, readTreeBytes, readTreeCpuSeconds } from './process-stats.ts';

export type LoadResult = {
  readonly pairs: number;
  readonly seconds: number;
  readonly pairsPerSecond: number;
  /** Latencies in ms: of a whole pair, and of its two requests. With a rate, pair and start count from the intended instant. */
  readonly pair: LatencySummary;
  readonly start: LatencySummary;
  readonly check: LatencySummary;
  /** Answers that were not the right one, by status; 0 is a lost connection or a code that never came. */
  readonly errors: Readonly<Record<string, number>>;
  readonly firstError?: string;
  /** Numbers used up, warm-up included: the next run on the same store begins behind them. */
  readonly issued: number;
  /** CPU time over elapsed time. */
  readonly loadCpuShare: number;
  /** The same with what the store's servers took that share the load's CPU. */
  readonly loadAndStoresCpuShare: number;
  /** Of all servers together. */
  readonly serverCpuSeconds?: number;
  readonly serverRssBytes?: number;
  /** What the store's own servers took, by their names; memory that their processes share is counted once. */
  readonly stores: Readonly<Record<string, { readonly cpuSeconds: number; readonly bytes: number }>>;
  /** What took of the server's CPU and has no business there, over elapsed time. */
  readonly foreignCpuShare?: number;
};

const { values: options } = parseArgs({
  options: {
    mode: { type: 'string', default: 'echo' },
    /** One or several with commas between them, and so are the pids. */
    port: { type: 'string', default: '' },
    connections: { type: 'string', default: '32' },
    'warm-up': { type: 'string', default: '1' },
    seconds: { type: 'string', default: '5' },
    /** Does this many pairs, all of them counted, in place of a time. */
    count: { type: 'string' },
    /** Pairs per second to begin, at random instants (exponential gaps), as callers who know nothing of each other do. */
    rate: { type: 'string' },
    /** Place in the pool of numbers to begin at. */
    offset: { type: 'string', default: '0' },
    key: { type: 'string' },
    codes: { type: 'string' },
    /** Whose CPU time is read at the edges of the measured phase. */
    'server-pid': { type: 'string', default: '' },
    /** `postgres:123`: a server of the store, whose CPU time is read too. */
    store: { type: 'string', multiple: true, default: [] },
    /** A server of the store that was given the servers' CPU. */
    'neighbour-pid': { type: 'string', default: '' },
    /** The store has the load's CPU too, so that the load must not wait busily. */
    'shares-cpu': { type: 'boolean', default: false },
    /** The CPU that the server is pinned to. */
    'server-cpu': { type: 'string' },
  },
});

const maxErrors = 50;
const codeDeadlineMs = 2000;
const silenceMs = 10_000;

const ports = numbersIn(options.port);
const rate = options.rate === undefined ? undefined : Number(options.rate);
const maxPairs = options.count === undefined ? Number.POSITIVE_INFINITY : Number(options.count);
const serverPids = numbersIn(options['server-pid']);
const neighbourPids = numbersIn(options['neighbour-pid']);
const storePids = options.store.map((text) => {
  const [name = '', pid] = text.split(':');
  return { name, pid: Number(pid) };
});
const codes = options.codes === undefined ? undefined : new CodeReader(options.codes);
const pair = options.mode === 'pairs' ? verificationPair : echoPair;

const echoHead = postHead('/echo');
const startHead = postHead('/v1/verifications');

const latencies = { pair: new Latencies(), start: new Latencies(), check: new Latencies() };
const errors = new Map<number, number>();
let firstError: string | undefined;
let next = Number(options.offset);
let begun = 0;
let running = 0;
let ended = 0;
let stopped = false;
let finished = false;

const callers = Array.from({ length: Number(options.connections) }, (_, index) => {
  return new Caller(ports, index, (error) => {
    fail(0, error.message);
    stopped = true;
    finish();
  });
});
await Promise.all(callers.map((caller) => caller.opened()));

// An answer counts when it comes between these two; a pair with a rate counts when it was meant to begin there.
const warmUpSeconds = options.count === undefined ? Number(options['warm-up']) : 0;
const measureFrom = performance.now() + warmUpSeconds * 1000;
const measureTo = options.count === undefined ? measureFrom + Number(options.seconds) * 1000 : Number.POSITIVE_INFINITY;
let before = warmUpSeconds === 0 ? sample() : undefined;
let after: ReturnType<typeof sample> | undefined;
if (warmUpSeconds > 0) {
  setTimeout(() => {
    before = sample();
  }, measureFrom - performance.now());
}
if (Number.isFinite(measureTo)) {
  setTimeout(() => {
    after = sample();
    stopped = true;
    if (rate === undefined) finish();
  }, measureTo - performance.now());
}
watchForSilence();

if (rate === undefined) for (const caller of callers) beginNext(caller);
else pace(rate);

/** Closed loop: the next pair begins when the last one ended. */
function beginNext(caller: Caller): void {
  if (stopped || begun >= maxPairs) finish();
  else begin(caller, performance.now(), () => beginNext(caller));
}

/** Open loop: a pair that finds no free connection, or a busy server, waits, and its wait counts. */
function pace(pairsPerSecond: number): void {
  const idle = [...callers];
  const waiting: number[] = [];
  let head = 0;
  let dueAt = performance.now();
  // No timer, where the load has its core to itself: they are a millisecond coarse, which is what is to be measured.
  const later = options['shares-cpu'] ? (work: () => void) => setTimeout(work, 1) : setImmediate;
  const tick = (): void => {
    const now = performance.now();
    for (; dueAt <= now && !stopped; dueAt += (-Math.log(1 - Math.random()) * 1000) / pairsPerSecond)
      waiting.push(dueAt);
    while (head < waiting.length && idle.length > 0) {
      const caller = idle.pop();
      const intended = waiting[head++];
      if (caller && intended !== undefined) begin(caller, intended, () => idle.push(caller));
    }
    // Whoever still waits at the end is served: to leave out the slowest would flatter.
    if (stopped && head === waiting.length && running === 0) finish();
    else later(tick);
  };
  tick();
}

function begin(caller: Caller, from: number, onDone: () => void): void {
  running++;
  begun++;
  pair(caller, next++, (startedAt, checkedFrom) => {
    running--;
    ended++;
    const now = performance.now();
    const at = rate === undefined ? now : from;
    if (at >= measureFrom && at < measureTo) {
      latencies.pair.add(now - from);
      latencies.start.add(startedAt - from);
      latencies.check.add(now - checkedFrom);
    }
    onDone();
  });
}

type PairDone = (startedAt: number, checkedFrom: number) => void;

function echoPair(caller: Caller, index: number, onDone: PairDone): void {
  const request = post(echoHead, startBody(index));
  caller.send(request, (first) => {
    expect(first, 201);
    const startedAt = performance.now();
    caller.send(request, (second) => {
      expect(second, 201);
      onDone(startedAt, startedAt);
    });
  });
}

function verificationPair(caller: Caller, index: number, onDone: PairDone): void {
  caller.send(post(startHead, startBody(index)), (started) => {
    const startedAt = performance.now();
    if (!expect(started, 201)) return onDone(startedAt, startedAt);
    const { body } = started;
    const idAt = body.indexOf('"id":"') + 6;
    const id = body.slice(idAt, body.indexOf('"', idAt));
    const check = (code: string): void => {
      const checkedFrom = performance.now();
      caller.send(post(postHead(`/v1/verifications/${id}/check`), `{"code":"${code}"}`), (checked) => {
        expect(checked, 200);
        onDone(startedAt, checkedFrom);
      });
    };
    const number = numberAt(index);
    const code = codes?.take(number);
    if (code !== undefined) return check(code);
    waitForCode(number, startedAt, check, () => onDone(startedAt, startedAt));
  });
}

/** The code is there before the answer as long as the start hands the message over; else it is waited for. */
function waitForCode(number: number, since: number, onCode: (code: string) => void, onNone: () => void): void {
  setImmediate(() => {
    const code = codes?.take(number);
    if (code !== undefined) return onCode(code);
    if (performance.now() - since < codeDeadlineMs) return waitForCode(number, since, onCode, onNone);
    fail(0, `no code for +${number} within ${codeDeadlineMs} ms: is the no-op provider in the route?`);
    onNone();
  });
}

function startBody(index: number): string {
  return `{"to":"+${numberAt(index)}","client_ip":"${addressAt(index)}"}`;
}

function postHead(path: string): string {
  const key = options.key === undefined ? '' : `authorization: Bearer ${options.key}\r\n`;
  return `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${key}content-type: application/json\r\ncontent-length: `;
}

function post(head: string, body: string): string {
  return `${head}${body.length}\r\n\r\n${body}`;
}

function expect(answer: Answer, status: number): boolean {
  if (answer.status === status) return true;
  fail(answer.status, `${answer.status} in place of ${status}: ${answer.body.slice(0, 500)}`);
  return false;
}

function fail(status: number, message: string): void {
  firstError ??= message;
  const count = (errors.get(status) ?? 0) + 1;
  errors.set(status, count);
  if (count >= maxErrors) stopped = true;
}

function sample() {
  const { user, system } = process.cpuUsage();
  const servers = serverPids.map(readProcessStats).filter((stats) => stats !== undefined);
  const stores = storePids.map(({ name, pid }) => ({ name, pid, cpuSeconds: readTreeCpuSeconds(pid) ?? Number.NaN }));
  const busySeconds =
    options['server-cpu'] === undefined ? undefined : readCpuBusySeconds(Number(options['server-cpu']));
  return {
    at: performance.now(),
    cpuSeconds: (user + system) / 1e6,
    serverCpuSeconds: servers.length === 0 ? undefined : sum(servers.map((stats) => stats.cpuSeconds)),
    serverRssBytes: sum(servers.map((stats) => stats.rssBytes)),
    stores,
    neighboursCpuSeconds: sum(neighbourPids.map((pid) => readTreeCpuSeconds(pid) ?? 0)),
    busySeconds,
  };
}

/** A server that hangs must not make the bench hang. */
function watchForSilence(): void {
  let seen = -1;
  setInterval(() => {
    if (ended === seen) {
      fail(0, `no answer for ${silenceMs / 1000} s`);
      finish();
    }
    seen = ended;
  }, silenceMs);
}

/** Prints the result as soon as no pair is under way any more, and leaves. */
function finish(): void {
  if (finished || (running > 0 && !errors.has(0))) return;
  finished = true;
  const from = before ?? sample();
  const to = after ?? sample();
  const seconds = (to.at - from.at) / 1000;
  const summary = latencies.pair.summary();
  const pairs = latencies.pair.count;
  const serverCpuSeconds =
    from.serverCpuSeconds === undefined || to.serverCpuSeconds === undefined
      ? undefined
      : to.serverCpuSeconds - from.serverCpuSeconds;
  const neighbours = to.neighboursCpuSeconds - from.neighboursCpuSeconds;
  const loadCpuSeconds = to.cpuSeconds - from.cpuSeconds;
  const stores = to.stores.map(({ name, pid, cpuSeconds }, index) => {
    const earlier = from.stores[index]?.cpuSeconds ?? Number.NaN;
    return [name, { cpuSeconds: cpuSeconds - earlier, bytes: readTreeBytes(pid) ?? Number.NaN }] as const;
  });
  const besideLoad = sum(stores.map(([, { cpuSeconds }]) => cpuSeconds)) - neighbours;
  const result: LoadResult = {
    pairs,
    seconds,
    pairsPerSecond: pairs / seconds,
    pair: summary,
    start: latencies.start.summary(),
    check: latencies.check.summary(),
    errors: Object.fromEntries(errors),
    ...(firstError === undefined ? {} : { firstError }),
    issued: next - Number(options.offset),
    loadCpuShare: loadCpuSeconds / seconds,
    loadAndStoresCpuShare: (loadCpuSeconds + besideLoad) / seconds,
    stores: Object.fromEntries(stores),
    ...(serverCpuSeconds === undefined ? {} : { serverCpuSeconds, serverRssBytes: to.serverRssBytes }),
    ...(serverCpuSeconds === undefined || from.busySeconds === undefined || to.busySeconds === undefined
      ? {}
      : { foreignCpuShare: Math.max(0, to.busySeconds - from.busySeconds - serverCpuSeconds - neighbours) / seconds }),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(errors.size > 0 ? 1 : 0));
}

function numbersIn(list: string): readonly number[] {
  return list === '' ? [] : list.split(',').map(Number);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
