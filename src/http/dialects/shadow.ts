import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { refuse } from '../../domain/problem.ts';
import type { ShadowEntry, ShadowOutcome } from '../../domain/shadow.ts';
import { dayOf } from '../../domain/usage.ts';
import { codeOf } from '../../provider-kit/http-client.ts';
import type { Log } from '../../service/context.ts';
import type { Metrics } from '../metrics.ts';
import type { Served } from '../served.ts';
import type { DialectAnswer, Framework } from './dialect.ts';
import type { MountedDialect } from './mount.ts';
import { differenceOf, exampleOf, readAnswer } from './shadow-shape.ts';

const UPSTREAM_DEADLINE_MS = 15_000;
/** Of a request and of an answer. */
export const SHADOW_BODY_BYTES = 1024 * 1024;
const MOST_UNDER_WAY = 100;

/** Answers for an old back end, and finds out what we would have answered. */
export type ShadowMode = {
  /**
   * @param path of the route, without a prefix and as it was called: with a slash at the end or without
   * @param ours what we would answer, given whether the old back end took the request; never rejects
   */
  relay(
    mounted: MountedDialect & { readonly upstream: string },
    path: string,
    request: FastifyRequest,
    reply: FastifyReply,
    ours: (wasTaken: boolean) => Promise<DialectAnswer>,
  ): Promise<FastifyReply>;
};

export function createShadowMode(
  { shadow, now }: Served,
  log: Log,
  metrics: Metrics,
  deadlineMs = UPSTREAM_DEADLINE_MS,
): ShadowMode {
  const comparisons = new Set<Promise<void>>();
  /** what could not be compared since something was stored last, by route */
  const missed = new Map<string, { readonly of: Compared; count: number }>();

  return {
    async relay({ app, dialect, upstream }, path, request, reply, ours) {
      const of = { app, dialect: dialect.id, route: `${request.method} ${path.replace(/\/$/, '')}` };
      // Who was answered before this request came may be the one who sends it: what was asked first is judged first.
      const earlier = [...comparisons];
      const startedAt = performance.now();
      const asked = await askUpstream(upstream + path + queryOf(request), request, deadlineMs);
      if (asked.kind === 'failed') {
        const durationMs = Math.round(performance.now() - startedAt);
        log.warn({ ...of, reason: asked.why, durationMs }, 'the old back end did not answer');
        compareLater(of, async () => ({ ...nothing, outcome: 'upstream-failed', difference: asked.why }));
        return sendFailure(reply, dialect.framework, asked.why);
      }
      compareLater(of, async () => {
        // Not even a turn of the event loop is taken from the client.
        await finished(reply.raw).catch(() => {});
        await Promise.all(earlier);
        const answer = await ours(asked.status >= 200 && asked.status < 300);
        return judge(asked, answer);
      });
      return sendAnswer(reply, asked);
    },
  };

  /** @param work must not reject because of what the client does */
  function compareLater(of: Compared, work: () => Promise<Judged>): void {
    if (comparisons.size >= MOST_UNDER_WAY) {
      metrics.countComparison(of.dialect, 'not-compared');
      const key = JSON.stringify(of);
      missed.set(key, { of, count: (missed.get(key)?.count ?? 0) + 1 });
      return;
    }
    const comparison = compare(of, work).finally(() => comparisons.delete(comparison));
    comparisons.add(comparison);
    void shadow.underWay.add(comparison);
  }

  /** Never rejects: nobody is there to hear it. */
  async function compare(of: Compared, work: () => Promise<Judged>): Promise<void> {
    let judged: Judged = { ...nothing, outcome: 'not-compared' };
    try {
      judged = await work();
    } catch (error) {
      log.error({ ...of, error: error instanceof Error ? error.message : String(error) }, 'not compared');
    }
    metrics.countComparison(of.dialect, judged.outcome);
    const late = [...missed.values()];
    missed.clear();
    const day = dayOf(now());
    try {
      await shadow.record({ ...of, ...judged, day, count: 1 });
      for (const each of late)
        await shadow.record({ ...nothing, ...each.of, outcome: 'not-compared', day, count: each.count });
    } catch (error) {
      log.error({ ...of, error: error instanceof Error ? error.message : String(error) }, 'comparison not stored');
    }
  }
}

type Compared = Pick<ShadowEntry, 'app' | 'dialect' | 'route'>;
type Judged = Omit<ShadowEntry, keyof Compared | 'day' | 'count'>;

const nothing = {
  upstreamStatus: undefined,
  ourStatus: undefined,
  difference: '',
  upstreamExample: '',
  ourExample: '',
} as const satisfies Omit<Judged, 'outcome'>;

function judge(asked: UpstreamAnswer, { status, body }: DialectAnswer): Judged {
  const upstream = readAnswer(asked.status, asked.body);
  const ours = readAnswer(status, Buffer.from(JSON.stringify(body)));
  const difference = differenceOf(upstream, ours);
  const statuses = { upstreamStatus: asked.status, ourStatus: status };
  if (difference === '') return { ...nothing, ...statuses, outcome: 'same' satisfies ShadowOutcome };
  const examples = { upstreamExample: exampleOf(upstream), ourExample: exampleOf(ours) };
  return { ...statuses, ...examples, outcome: 'different', difference };
}

// ---- the old back end -------------------------------------------------------------------------------------------

type UpstreamAnswer = {
  readonly kind: 'answered';
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
};

/** Of one connection, and not of the message (RFC 9110, section 7.6.1). */
const HOP_BY_HOP = [
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
];
/** Those that belong to the body as we send it on, and what a client may say of its address, which a proxy has to. */
const NOT_ASKED = new Set([
  ...HOP_BY_HOP,
  ...['host', 'content-length', 'expect', 'accept-encoding', 'x-forwarded-for', 'forwarded', 'x-real-ip'],
]);
const NOT_RELAYED = new Set([
  ...HOP_BY_HOP,
  ...['content-length', 'content-encoding', 'date', 'server', 'alt-svc', 'strict-transport-security', 'set-cookie'],
]);

/** Asks once. What failed may have been done, so nothing is repeated. */
async function askUpstream(
  url: string,
  request: FastifyRequest,
  deadlineMs: number,
): Promise<UpstreamAnswer | { readonly kind: 'failed'; readonly why: string }> {
  const signal = AbortSignal.timeout(deadlineMs);
  try {
    const response = await fetch(url, {
      method: request.method,
      headers: headersFor(request),
      body: (request.body as Buffer<ArrayBuffer> | undefined) ?? null,
      redirect: 'manual',
      signal,
    });
    const body = await readBytes(response);
    if (body === undefined) return { kind: 'failed', why: 'too-large' };
    // Nobody could be told (RFC 9110, section 15).
    if (response.status > 599) return { kind: 'failed', why: 'bad-status' };
    return { kind: 'answered', status: response.status, headers: response.headers, body };
  } catch (error) {
    return { kind: 'failed', why: codeOf((error as Error).cause ?? error, signal) };
  }
}

function headersFor({ headers, socket }: FastifyRequest): Headers {
  const passedOn = new Headers();
  const ofConnection = tokensOf(headers.connection);
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !NOT_ASKED.has(name) && !ofConnection.has(name)) passedOn.set(name, String(value));
  }
  const address = socket.remoteAddress?.replace(/^::ffff:/, '');
  const hops = [headers['x-forwarded-for'], address].flat().filter((hop) => hop !== undefined);
  if (hops.length > 0) passedOn.set('x-forwarded-for', hops.join(', '));
  // What comes is sent on byte for byte.
  passedOn.set('accept-encoding', 'identity');
  return passedOn;
}

async function readBytes({ body }: Response): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > SHADOW_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function queryOf({ raw }: FastifyRequest): string {
  const url = raw.url ?? '';
  return url.includes('?') ? url.slice(url.indexOf('?')) : '';
}

function tokensOf(header: string | undefined): Set<string> {
  return new Set(header?.toLowerCase().split(/[\s,]+/));
}

// ---- the client -------------------------------------------------------------------------------------------------

function sendAnswer(reply: FastifyReply, { status, headers, body }: UpstreamAnswer): FastifyReply {
  reply.code(status);
  const ofConnection = tokensOf(headers.get('connection') ?? undefined);
  for (const [name, value] of headers) {
    if (!NOT_RELAYED.has(name) && !ofConnection.has(name)) reply.header(name, value);
  }
  for (const cookie of headers.getSetCookie()) reply.header('set-cookie', cookie);
  if (body.length === 0) return reply.send();
  if (headers.has('content-type')) return reply.send(body);
  // Fastify names a type for bytes that have none; not for a stream.
  return reply.header('content-length', String(body.length)).send(Readable.from([body]));
}

function sendFailure(reply: FastifyReply, framework: Framework, why: string): FastifyReply {
  const { body, headers } = framework.refused(
    refuse('delivery-failed', 'The service does not answer just now. Try again in a moment.', { retryAfterMs: 5000 }),
  );
  return reply
    .code(why === 'timeout' ? 504 : 502)
    .headers(headers ?? {})
    .type('application/json')
    .send(JSON.stringify(body));
}
