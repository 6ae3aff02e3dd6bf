import { connect, type Socket } from 'node:net';

export type Answer = {
  readonly status: number;
  /** Bytes as characters (latin1): enough to look for an id. */
  readonly body: string;
};

const readBufferBytes = 16 * 1024;
const headEnd = '\r\n\r\n';
const lengthField = 'content-length: ';

/**
 * One keep-alive connection to a server on the loopback, one request at a time. It knows of HTTP/1.1 what our servers
 * answer with, a status line and a content length, because every microsecond here is one that the server is not asked.
 */
export class HttpConnection {
  readonly #socket: Socket;
  #onAnswer: ((answer: Answer) => void) | undefined;
  #partial = '';

  constructor(port: number, onLost: (error: Error) => void) {
    // One buffer a connection, filled again and again: a stream would make a new one for every answer.
    const buffer = Buffer.allocUnsafe(readBufferBytes);
    this.#socket = connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: (bytes) => {
          this.#read(buffer.toString('latin1', 0, bytes));
          return true;
        },
      },
    });
    this.#socket.on('error', onLost);
    this.#socket.on('end', () => onLost(new Error('the server closed a connection')));
  }

  /** Resolves once the connection is there. */
  opened(): Promise<void> {
    return new Promise((resolve) => this.#socket.once('connect', resolve));
  }

  /** A callback, not a promise: there are a hundred thousand of them a second. */
  send(request: string, onAnswer: (answer: Answer) => void): void {
    this.#onAnswer = onAnswer;
    this.#socket.write(request, 'latin1');
  }

  close(): void {
    this.#socket.removeAllListeners('end');
    this.#socket.destroy();
  }

  #read(bytes: string): void {
    const text = this.#partial === '' ? bytes : this.#partial + bytes;
    const end = text.indexOf(headEnd);
    const bodyAt = end + headEnd.length;
    if (end < 0 || text.length < bodyAt + contentLength(text, end)) {
      this.#partial = text;
      return;
    }
    this.#partial = '';
    const onAnswer = this.#onAnswer;
    this.#onAnswer = undefined;
    // 'HTTP/1.1 201 Created': the status is at 9, 10 and 11.
    const status = (text.charCodeAt(9) - 48) * 100 + (text.charCodeAt(10) - 48) * 10 + text.charCodeAt(11) - 48;
    onAnswer?.({ status, body: text.slice(bodyAt) });
  }
}

function contentLength(text: string, end: number): number {
  const at = text.indexOf(lengthField);
  if (at < 0 || at > end) throw new Error(`an answer without content-length: ${text.slice(0, end)}`);
  let length = 0;
  for (let place = at + lengthField.length; ; place++) {
    const digit = text.charCodeAt(place) - 48;
    if (!(digit >= 0 && digit <= 9)) return length;
    length = length * 10 + digit;
  }
}
