import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Something that one process at a time may use, over all processes of a run. */
export type Turns = { readonly port: number; close(): Promise<void> };

/**
 * Hands out turns in the order of asking. A turn is a connection, so that it ends with whoever has it, however that ends.
 */
export async function giveTurns(): Promise<Turns> {
  const waiting: Socket[] = [];
  const next = () => waiting[0]?.write('go');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('close', () => {
      const place = waiting.indexOf(socket);
      waiting.splice(place, 1);
      if (place === 0) next();
    });
    socket.resume();
    if (waiting.push(socket) === 1) next();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of [...waiting]) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Waits for a turn. @returns ends it */
export async function takeTurn(port: number): Promise<() => void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'data');
  return () => socket.destroy();
}
