import { connect } from 'node:net';
import type { PoolClient } from 'pg';

/** What the driver keeps of a connection, though its types do not say so. */
type Connected = {
  readonly host: string;
  readonly port: number;
  readonly processID?: number;
  readonly secretKey?: number;
};

/** https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-CANCELREQUEST */
const CANCEL_REQUEST = 80_877_102;
const PATIENCE_MS = 1000;

/**
 * Asks the server to end what it does for a connection, by one of its own, which a PgBouncer passes on. Nobody answers, and where
 * it is not heard the work goes on to its end. In clear, as it has always been: the key is good for nothing else.
 */
export function requestCancel(client: PoolClient): void {
  const { host, port, processID, secretKey } = client as unknown as Connected;
  if (processID === undefined || secretKey === undefined) return;
  const message = Buffer.alloc(16);
  for (const [place, number] of [message.length, CANCEL_REQUEST, processID, secretKey].entries())
    message.writeInt32BE(number, 4 * place);
  const socket = connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  socket.on('error', () => {});
  socket.setTimeout(PATIENCE_MS, () => socket.destroy());
  socket.unref();
  socket.end(message);
}
