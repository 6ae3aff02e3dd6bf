import { connect, createServer, type Socket } from 'node:net';
import { freePort } from '../../test/servers/machine.ts';

/**
 * - `pass`: as if it were not there
 * - `silent`: nothing gets through in either direction, and nobody is told; what was sent arrives when it is over
 * - `lose-answers`: the server gets and does what it is asked, and for a part of its answers the connection is cut instead
 * - `slow`: each answer comes later
 */
export type ProxyMode =
  | { readonly kind: 'pass' }
  | { readonly kind: 'silent' }
  | { readonly kind: 'lose-answers'; readonly share: number }
  | { readonly kind: 'slow'; readonly delayMs: number };

type Pair = {
  readonly client: Socket;
  readonly server: Socket;
  /** what is held back; nothing overtakes it */
  readonly later: (() => void)[];
  /** of `performance.now()`: when the last of that goes on */
  lastDue: number;
};

/** Stands between nodes and a server: a bad network, and the address that leads to whichever server is the primary. */
export class TcpProxy {
  readonly port: number;
  #targetPort: number;
  #mode: ProxyMode = { kind: 'pass' };
  readonly #pairs = new Set<Pair>();
  readonly #waiting = new Set<Socket>();
  readonly #listener = createServer({ allowHalfOpen: false, noDelay: true }, (client) => this.#accept(client));

  private constructor(port: number, targetPort: number) {
    this.port = port;
    this.#targetPort = targetPort;
  }

  static async open(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(await freePort(), targetPort);
    await new Promise<void>((resolve, reject) => {
      proxy.#listener.once('error', reject).listen(proxy.port, '127.0.0.1', resolve);
    });
    return proxy;
  }

  /** New connections lead there; those that are open are cut. */
  leadTo(targetPort: number): void {
    this.#targetPort = targetPort;
    this.cut();
  }

  set mode(mode: ProxyMode) {
    this.#mode = mode;
    for (const { client, server } of this.#pairs) {
      for (const socket of [client, server]) mode.kind === 'silent' ? socket.pause() : socket.resume();
    }
    if (mode.kind === 'silent') return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const client of waiting) this.#connect(client);
  }

  /** As a router does that lost its table: both sides get a reset. */
  cut(): void {
    for (const pair of this.#pairs) this.#end(pair);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    this.cut();
    for (const socket of this.#waiting) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    client.on('error', () => client.destroy());
    if (this.#mode.kind !== 'silent') {
      this.#connect(client);
      return;
    }
    this.#waiting.add(client);
    client.once('close', () => this.#waiting.delete(client));
  }

  #connect(client: Socket): void {
    const server = connect({ host: '127.0.0.1', port: this.#targetPort, noDelay: true });
    const pair: Pair = { client, server, later: [], lastDue: 0 };
    this.#pairs.add(pair);
    client.on('data', (bytes) => server.write(bytes));
    server.on('data', (bytes) => this.#answer(pair, bytes));
    // Behind what is still on its way.
    client.on('end', () => server.end());
    server.on('end', () => this.#later(pair, () => client.end()));
    for (const socket of [client, server]) {
      socket.on('error', () => this.#end(pair));
      socket.on('close', () => this.#later(pair, () => this.#end(pair)));
    }
  }

  #answer(pair: Pair, bytes: string | Buffer): void {
    if (this.#mode.kind === 'lose-answers' && Math.random() < this.#mode.share) this.#end(pair);
    else this.#later(pair, () => pair.client.write(bytes));
  }

  #later(pair: Pair, work: () => void): void {
    const now = performance.now();
    const due = Math.max(pair.lastDue, this.#mode.kind === 'slow' ? now + this.#mode.delayMs : now);
    pair.lastDue = due;
    if (due === now && pair.later.length === 0) {
      work();
      return;
    }
    pair.later.push(work);
    // Timers of different lengths may change places, and the queue does not.
    setTimeout(() => pair.later.shift()?.(), due - now);
  }

  #end(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    for (const socket of [pair.client, pair.server]) {
      if (socket.destroyed) continue;
      // A reset of one that is being shut down leaves it open for ever, and the process cannot end (Node.js 26.10).
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }
}
