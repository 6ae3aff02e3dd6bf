import { type Answer, HttpConnection } from './http-connection.ts';

/**
 * One caller: a connection to each of the nodes, which are asked in turn, as behind a proxy. With two nodes a code is
 * checked on another node than the one that made it.
 */
export class Caller {
  readonly #connections: readonly HttpConnection[];
  #next: number;

  /** @param index begins at another node than its neighbours */
  constructor(ports: readonly number[], index: number, onLost: (error: Error) => void) {
    this.#connections = ports.map((port) => new HttpConnection(port, onLost));
    this.#next = index % this.#connections.length;
  }

  async opened(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.opened()));
  }

  send(request: string, onAnswer: (answer: Answer) => void): void {
    const connection = this.#connections[this.#next];
    this.#next = (this.#next + 1) % this.#connections.length;
    connection?.send(request, onAnswer);
  }
}
