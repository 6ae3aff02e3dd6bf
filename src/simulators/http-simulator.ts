import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type Answer,
  type DeliveryStep,
  type Fault,
  type FaultName,
  faultNames,
  type PostedReport,
  pause,
  type RefusalName,
  type ReportLine,
  type SeenRequest,
  type SimulatedMessage,
  type Simulator,
  type SimulatorOptions,
} from './simulator-kit.ts';

/** What is special about a vendor that is reached by HTTP. */
export type HttpVendor = {
  /** Treats a request well; calls `take` for each message in it. */
  answer(request: SeenRequest, take: (message: SimulatedMessage) => void): Answer;
  /** Paths that faults leave alone: the login of a vendor that has one. */
  readonly loginPath?: string;
  /** How it words its refusals. */
  readonly refusals: Readonly<Partial<Record<RefusalName, Answer>>>;
  /** Its good answer with the message's id taken out. */
  withoutId(answer: Answer): Answer;
  /** What becomes of a message; a function where a vendor has several kinds of them. */
  readonly delivery: readonly DeliveryStep[] | ((message: SimulatedMessage) => readonly DeliveryStep[]);
  /** Undefined where it posts none of this message. */
  report?(message: SimulatedMessage, step: DeliveryStep): PostedReport | undefined;
};

const REPORT_DEADLINE_MS = 15_000;
const HUGE_BYTES = 10_000_000;

/**
 * A server with the manners of `vendor`. Besides the vendor's own paths it has three for people:
 * `GET /simulator/messages` shows what it took, `PUT /simulator/fault` with a fault's name (or nothing) in the body
 * makes all later requests fail that way, and `PUT /simulator/delivery` with a list of steps says what is reported of all
 * later messages.
 */
export async function startHttpSimulator(vendor: HttpVendor, options: SimulatorOptions = {}): Promise<Simulator> {
  const requests: SeenRequest[] = [];
  const messages: SimulatedMessage[] = [];
  const reports: ReportLine[] = [];
  const faults: Fault[] = [];
  const deliveries: (readonly DeliveryStep[])[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const underWay = new Set<Promise<void>>();
  const closing = new AbortController();
  let always: Fault | undefined;
  let deliveryAlways: readonly DeliveryStep[] | undefined;
  // A refusal that the vendor has no words for would only cut the connection.
  const faultsHere = faultNames.filter(
    (name) => !refusalNames.has(name) || vendor.refusals[name as RefusalName] !== undefined,
  );

  const server = createServer((request, response) => {
    // A caller that leaves in the middle is part of the game; anything else should be seen.
    handle(request, response).catch((error: unknown) => {
      if (!request.destroyed && !response.destroyed) response.destroy(error instanceof Error ? error : undefined);
    });
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isControl = request.url?.startsWith('/simulator/') === true;
    const isLogin = vendor.loginPath !== undefined && request.url?.startsWith(vendor.loginPath) === true;
    const fault = isControl || isLogin ? undefined : (faults.shift() ?? always);
    if (fault === 'drop-before-reading') {
      request.socket.destroy();
      return;
    }
    const seen = readRequest(request, await readBody(request));
    if (isControl) return send(response, control(seen));
    requests.push(seen);
    for (const waiter of waiting) if (requests.length >= waiter.count) waiter.resolve();

    const refusal = refusalOf(fault, vendor.refusals);
    if (refusal !== undefined) return send(response, refusal);
    const taken: SimulatedMessage[] = [];
    const answer = vendor.answer(seen, (message) => taken.push(message));
    for (const message of taken) await take(message);
    await reply(request, response, fault, answer);
  }

  function control({ method, path, body }: SeenRequest): Answer {
    if (method === 'GET' && path === '/simulator/messages') {
      return { status: 200, body: { messages: messages.map(({ id, to, text }) => ({ id, to, text })) } };
    }
    if (method === 'PUT' && path === '/simulator/fault') {
      const name = body.trim();
      if (name !== '' && !(faultsHere as readonly string[]).includes(name))
        return { status: 400, body: { error: `There is no fault '${name}'`, faults: faultsHere } };
      always = name === '' ? undefined : (name as FaultName);
      return { status: 200, body: { fault: always ?? null } };
    }
    if (method === 'PUT' && path === '/simulator/delivery') {
      const steps = body.trim() === '' ? undefined : readSteps(parsed(body));
      if (steps === 'malformed')
        return {
          status: 400,
          body: { error: 'A list like [{"status":"…","delayMs":1000,"times":2,"isForged":false}]' },
        };
      deliveryAlways = steps;
      return { status: 200, body: { delivery: steps ?? null } };
    }
    return {
      status: 404,
      body: { error: 'There are GET /simulator/messages, PUT /simulator/fault and PUT /simulator/delivery' },
    };
  }

  async function take(message: SimulatedMessage): Promise<void> {
    messages.push(message);
    options.onMessage?.(message);
    const { delivery } = vendor;
    const usual = typeof delivery === 'function' ? delivery(message) : delivery;
    const steps = deliveries.shift() ?? deliveryAlways ?? options.delivery ?? usual;
    for (const step of steps.filter(({ isEarly }) => isEarly === true)) await post(message, step);
    const work = play(
      message,
      steps.filter(({ isEarly }) => isEarly !== true),
    ).finally(() => underWay.delete(work));
    underWay.add(work);
  }

  async function play(message: SimulatedMessage, steps: readonly DeliveryStep[]): Promise<void> {
    for (const step of steps) {
      await pause(step.delayMs ?? 0, closing.signal);
      if (closing.signal.aborted) return;
      for (let time = 0; time < (step.times ?? 1); time += 1) await post(message, step);
    }
  }

  async function post(message: SimulatedMessage, step: DeliveryStep): Promise<void> {
    const addressed = { ...message, reportUrl: message.reportUrl ?? options.reportUrl };
    const report = vendor.report?.(addressed, step);
    if (report === undefined) return;
    const method = report.method ?? 'POST';
    const answer = await fetch(report.url, {
      method,
      headers: report.headers,
      ...(method === 'GET' ? {} : { body: report.body }),
      redirect: 'manual',
      signal: AbortSignal.any([closing.signal, AbortSignal.timeout(REPORT_DEADLINE_MS)]),
    }).then(
      async (reply) => {
        await reply.arrayBuffer();
        return reply.status;
      },
      () => 0,
    );
    reports.push({ id: message.id, status: step.status, answer });
  }

  async function reply(
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | undefined,
    answer: Answer,
  ): Promise<void> {
    if (typeof fault === 'object') {
      if (fault.kind === 'delay') await pause(fault.delayMs, closing.signal);
      return send(response, answer);
    }
    const { status } = answer;
    switch (fault) {
      case 'server-error':
        return send(response, { status: 500, body: 'Internal Server Error', type: 'text/plain' });
      case 'garbage':
        return send(response, { status, body: '{"id":"0', type: 'application/json' });
      case 'html':
        return send(response, { status, body: '<!doctype html><title>Bad gateway</title>', type: 'text/html' });
      case 'empty':
        return send(response, { status, body: '', type: 'application/json' });
      case 'invalid-utf8':
        response.writeHead(status, { 'Content-Type': 'application/json' });
        response.end(Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d));
        return;
      case 'huge':
        return send(response, { ...answer, body: bodyOf(answer) + ' '.repeat(HUGE_BYTES) });
      case 'no-id':
        return send(response, vendor.withoutId(answer));
      case 'redirect':
        return send(response, { status: 302, headers: { Location: request.url ?? '/' } });
      case 'stall':
        return;
      case 'stall-in-body': {
        const body = bodyOf(answer);
        response.writeHead(status, { 'Content-Type': typeOf(answer), 'Content-Length': Buffer.byteLength(body) + 1 });
        response.write(body);
        return;
      }
      case 'drop-after-reading':
        request.socket.destroy();
        return;
      default:
        return send(response, answer);
    }
  }

  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  const { address, port } = server.address() as AddressInfo;

  return {
    url: `http://${address}:${port}`,
    faults: faultsHere,
    requests,
    messages,
    reports,
    behave: (...next) => void faults.push(...next),
    behaveAlways: (fault) => {
      always = fault;
    },
    deliver: (...steps) => void deliveries.push(steps),
    received: (count) =>
      new Promise((resolve) => {
        if (requests.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    close: async () => {
      closing.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await Promise.all([closed, ...underWay]);
    },
  };
}

/** What somebody has typed; no step has a key of another kind. */
function readSteps(json: unknown): readonly DeliveryStep[] | 'malformed' {
  if (!Array.isArray(json)) return 'malformed';
  const isStep = (step: Partial<Record<keyof DeliveryStep, unknown>> | null) =>
    typeof step === 'object' &&
    step !== null &&
    typeof step.status === 'string' &&
    ['string', 'number', 'undefined'].includes(typeof step.errorCode) &&
    [step.delayMs, step.times].every(
      (value) => value === undefined || (Number.isInteger(value) && Number(value) >= 0),
    ) &&
    [step.isForged, step.isEarly].every((value) => value === undefined || typeof value === 'boolean');
  return json.every(isStep) ? (json as readonly DeliveryStep[]) : 'malformed';
}

/** The answer to a fault that takes no message. */
function refusalOf(fault: Fault | undefined, refusals: HttpVendor['refusals']): Answer | undefined {
  if (fault === undefined) return undefined;
  if (typeof fault === 'object') return fault.kind === 'answer' ? fault.answer : undefined;
  const refusal = refusals[fault as RefusalName];
  const isRefusal = refusalNames.has(fault);
  if (isRefusal && refusal === undefined) throw new Error(`This vendor has no refusal '${fault}'`);
  return refusal;
}

const refusalNames: ReadonlySet<FaultName> = new Set<RefusalName>([
  'bad-number',
  'refuse-inside-2xx',
  'throttle',
  'credentials',
  'balance',
  'content',
]);

function send(response: ServerResponse, answer: Answer): void {
  response.writeHead(answer.status, { 'Content-Type': typeOf(answer), ...answer.headers });
  response.end(bodyOf(answer));
}

function bodyOf({ body }: Answer): string {
  return typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
}

function typeOf({ body, type }: Answer): string {
  return type ?? (typeof body === 'string' ? 'text/plain; charset=utf-8' : 'application/json');
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function readRequest(request: IncomingMessage, bytes: Buffer): SeenRequest {
  const url = new URL(request.url ?? '/', 'http://simulator');
  const body = bytes.toString('utf8');
  const type = request.headers['content-type'] ?? '';
  return {
    method: request.method ?? '',
    path: url.pathname,
    query: url.searchParams,
    headers: request.headers,
    body,
    form: type.startsWith('multipart/form-data') ? readMultipart(body, type) : formOf(body),
    json: parsed(body),
  };
}

function formOf(body: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(body));
}

/** Fields alone, no files. */
function readMultipart(body: string, type: string): Record<string, string> {
  const boundary = /boundary="?([^";]+)"?/.exec(type)?.[1] ?? '';
  const parts = body.split(`--${boundary}`).flatMap((part) => {
    const match = /name="([^"]+)"[\s\S]*?\r\n\r\n([\s\S]*)\r\n$/.exec(part);
    return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
  });
  return Object.fromEntries(parts);
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}
