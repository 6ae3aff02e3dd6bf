import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** The network between a node and its PostgreSQL, which can be cut, or go silent as it does when a machine is gone. */
export type TestProxy = {
  url(of: string): string;
  /** Connections that are there say nothing any more, and new ones are taken and say nothing either. */
  silence(): void;
  /** New connections go through again; those that were silent stay so. */
  restore(): void;
  /** Ends every connection at once, in the middle of whatever it is at. */
  cut(): void;
  /** how many connections there have been */
  readonly made: number;
  close(): Promise<void>;
};

export async function startProxy(of: string): Promise<TestProxy> {
  const target = new URL(of);
  const pairs = new Set<readonly [Socket, Socket]>();
  let isSilent = false;
  let made = 0;
  const server = createServer((near) => {
    made += 1;
    const far = connect(Number(target.port), target.hostname);
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        for (const each of pair) each.destroy();
      });
    }
    if (isSilent) return;
    near.pipe(far);
    far.pipe(near);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  return {
    url(given) {
      const url = new URL(given);
      url.port = String(port);
      return url.href;
    },
    silence() {
      isSilent = true;
      for (const [near, far] of pairs) {
        near.unpipe(far);
        far.unpipe(near);
        // What still comes is lost.
        near.resume();
        far.resume();
      }
    },
    restore() {
      isSilent = false;
    },
    cut,
    get made() {
      return made;
    },
    async close() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
