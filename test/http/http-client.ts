import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';

type Body = Record<string, unknown>;

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** the body as JSON; empty when it is none */
  readonly json: Body;
};

export type Ask = {
  /** sent as JSON, a string or bytes as they are */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly key?: string;
};

/** One HTTP client over real sockets. `node:http` and not `fetch`: tests set `Host`, and send what no client would. */
export type HttpClient = {
  (method: string, path: string, ask?: Ask): Promise<Answer>;
  close(): void;
};

export function httpClient(origin: string): HttpClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const { hostname, port } = new URL(origin);
  const call = (method: string, path: string, { body, headers = {}, key }: Ask = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const isRaw = typeof body === 'string' || body instanceof Uint8Array;
      const content = body === undefined ? undefined : isRaw ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
      const request = httpRequest(
        {
          host: hostname,
          port,
          method,
          path,
          agent,
          headers: {
            ...(content === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': String(content.length) }),
            ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
            ...headers,
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            const isJson = /json/.test(response.headers['content-type'] ?? '') && text !== '';
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text,
              json: isJson ? (JSON.parse(text) as Body) : {},
            });
          });
        },
      );
      request.on('error', reject);
      request.end(content);
    });
  return Object.assign(call, { close: () => agent.destroy() });
}

/** Writes the bytes of a request as they are, and reads until the server closes. */
export function speak(origin: string, ...parts: readonly (string | Uint8Array)[]): Promise<string> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let heard = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      heard += chunk;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A server that has answered may close before it has read everything.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') resolve(heard);
      else reject(error);
    });
    socket.on('close', () => resolve(heard));
    for (const part of parts) socket.write(part);
  });
}

export function problemOf({ status, headers, json }: Answer) {
  return { status, type: headers['content-type']?.split(';')[0], code: json['code'], field: json['field'] };
}

/** What `problemOf` gives for a refusal. */
export function problem(status: number, code: string, field?: string) {
  return { status, type: 'application/problem+json', code, field };
}
