import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** What a client asked in one round trip: the name of a step, or of several that go together. */
export type RoundTrip = readonly string[];

/** Reads what a client tells a server, piece by piece as it comes. */
export type WireReader = (bytes: Buffer) => readonly RoundTrip[];

/** Stands between a node and a server of its store, passes on what both say, and keeps what the node asks. */
export type CountingProxy = {
  readonly port: number;
  /** Those since the last call. */
  take(): readonly RoundTrip[];
  close(): Promise<void>;
};

export async function startCountingProxy(port: number, openReader: () => WireReader): Promise<CountingProxy> {
  let roundTrips: RoundTrip[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: () => Socket): Socket => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => other().destroy());
    socket.once('close', () => {
      sockets.delete(socket);
      other().destroy();
    });
    return socket;
  };
  const server = createServer((client) => {
    const read = openReader();
    const upstream = connect(port, '127.0.0.1');
    keep(client, () => upstream);
    keep(upstream, () => client);
    client.on('data', (bytes) => roundTrips.push(...read(Buffer.from(bytes))));
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    take() {
      const taken = roundTrips;
      roundTrips = [];
      return taken;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
