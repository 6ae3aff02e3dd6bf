import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ReportRequest } from '../../src/domain/provider.ts';

/** Takes what a simulator posts, as the server would hand it to a provider. */
export type ReportReceiver = {
  readonly url: string;
  readonly requests: readonly ReportRequest[];
  close(): Promise<void>;
};

export async function startReportReceiver(): Promise<ReportReceiver> {
  const requests: ReportRequest[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    requests.push({
      method: request.method === 'GET' ? 'GET' : 'POST',
      url: origin + (request.url ?? '/'),
      headers: request.headers,
      rawBody: Buffer.concat(chunks),
    });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${origin}/report`,
    requests,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
