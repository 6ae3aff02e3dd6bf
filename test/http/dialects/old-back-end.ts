import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';

export type OldRequest = {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly json: Record<string, string>;
};

export type OldAnswer = {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  /** sent as JSON, a text as it is */
  readonly body?: unknown;
};

/** The back end that is being left, over a real socket. */
export type OldBackEnd = {
  readonly url: string;
  readonly asked: readonly OldRequest[];
  /** From now on. Without an answer the handler has written one itself, or never will. */
  behave(handle: (request: OldRequest, response: ServerResponse) => OldAnswer | undefined | Promise<OldAnswer>): void;
  close(): Promise<void>;
};

export async function startOldBackEnd(): Promise<OldBackEnd> {
  const asked: OldRequest[] = [];
  let handle: Parameters<OldBackEnd['behave']>[0] = () => ({ status: 404, body: { detail: 'Not Found' } });
  const server = createServer(async (message, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const { method = '', url = '', headers } = message;
    const request = { method, url, headers, body, json: readJson(body) };
    asked.push(request);
    const answer = await handle(request, response);
    if (answer === undefined) return;
    const { status = 200, headers: more = {}, body: content = '' } = answer;
    const isText = typeof content === 'string';
    response.writeHead(status, isText ? more : { 'content-type': 'application/json', ...more });
    response.end(isText ? content : JSON.stringify(content));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    behave: (next) => {
      handle = next;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function readJson(text: string): Record<string, string> {
  try {
    return JSON.parse(text) as Record<string, string>;
  } catch {
    return {};
  }
}
