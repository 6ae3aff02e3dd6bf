import { Agent, request } from 'node:http';

/** Longer than any answer may take, so that a hang is told from a late answer. */
const PATIENCE_MS = 15_000;

/** What became of one request. */
export type Reply = {
  /** of the node that was asked, from 0 on */
  readonly node: number;
  /** when it was sent, by the monotonic clock; ms */
  readonly at: number;
  readonly ms: number;
  readonly what: string;
} & (
  | {
      readonly kind: 'answered';
      readonly status: number;
      /** of the problem; undefined for a success, and for an answer that is no problem */
      readonly code: string | undefined;
      readonly retryAfterSeconds: number | undefined;
      readonly body: Readonly<Record<string, unknown>>;
    }
  /** the connection was cut: it may have been carried out */
  | { readonly kind: 'cut' }
  /** nobody listened: surely not carried out */
  | { readonly kind: 'refused' }
  /** no answer at all in fifteen seconds */
  | { readonly kind: 'hung' }
);

export type Ask = {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
  readonly idempotencyKey?: string;
  /** what it is, for whoever reads of it; no number and no code */
  readonly what: string;
};

/** Calls one node over connections that are kept. */
export class Caller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 128 });
  readonly #origin: string;
  readonly #node: number;

  constructor(origin: string, node: number) {
    this.#origin = origin;
    this.#node = node;
  }

  call(ask: Ask, apiKey: string): Promise<Reply> {
    const at = performance.now();
    const of = () => ({ node: this.#node, what: ask.what, at, ms: performance.now() - at });
    const content = ask.body === undefined ? undefined : Buffer.from(JSON.stringify(ask.body));
    return new Promise((resolve) => {
      const outgoing = request(
        `${this.#origin}${ask.path}`,
        {
          method: ask.method,
          agent: this.#agent,
          headers: {
            authorization: `Bearer ${apiKey}`,
            ...(content === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': String(content.length) }),
            ...(ask.idempotencyKey === undefined ? {} : { 'idempotency-key': ask.idempotencyKey }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', () => resolve({ ...of(), kind: 'cut' }));
          response.on('end', () => {
            const body = parsed(Buffer.concat(chunks).toString());
            const { code } = body;
            const retryAfter = response.headers['retry-after'];
            resolve({
              ...of(),
              kind: 'answered',
              status: response.statusCode ?? 0,
              code: typeof code === 'string' ? code : undefined,
              retryAfterSeconds: retryAfter === undefined ? undefined : Number(retryAfter),
              body,
            });
          });
        },
      );
      const patience = setTimeout(() => {
        resolve({ ...of(), kind: 'hung' });
        outgoing.destroy();
      }, PATIENCE_MS);
      outgoing.on('close', () => clearTimeout(patience));
      outgoing.on('error', (error: NodeJS.ErrnoException) =>
        resolve({ ...of(), kind: error.code === 'ECONNREFUSED' ? 'refused' : 'cut' }),
      );
      outgoing.end(content);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
