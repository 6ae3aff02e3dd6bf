import type { RoundTrip, WireReader } from './counting-proxy.ts';

/** A step of the store is a function in a schema named by a digest: `SELECT countersign_steps_1f2e3d4c.start($1)…`. */
const stepCall = /\bcountersign_steps_\w+\.(\w+)\(/;
/** It is given several steps, each with its name. */
const togetherCall = 'run_together';
const shownChars = 60;

/**
 * Reads the frontend's side of PostgreSQL's protocol. A client waits after each Query and each Sync, so these are the round
 * trips, named by the statement. https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export function readPostgres(): WireReader {
  let pending = Buffer.alloc(0);
  let hasStarted = false;
  let bound: Bound = { statement: '', parameter: '' };
  const prepared = new Map<string, string>();

  const readMessage = (type: string, body: Buffer): RoundTrip | undefined => {
    switch (type) {
      case 'P': {
        const [name = '', statement = ''] = body.toString('utf8').split('\0', 2);
        prepared.set(name, statement);
        return undefined;
      }
      case 'B':
        bound = readBind(body, prepared);
        return undefined;
      case 'Q':
        return namesOf({ statement: body.toString('utf8', 0, body.length - 1), parameter: '' });
      // Sync
      case 'S':
        return namesOf(bound);
      default:
        return undefined;
    }
  };

  return (bytes) => {
    pending = Buffer.concat([pending, bytes]);
    const asked: RoundTrip[] = [];
    for (;;) {
      // The first message has no type.
      const typeBytes = hasStarted ? 1 : 0;
      if (pending.length < typeBytes + 4) return asked;
      const end = typeBytes + pending.readUInt32BE(typeBytes);
      if (pending.length < end) return asked;
      if (hasStarted) {
        const names = readMessage(pending.toString('latin1', 0, 1), pending.subarray(typeBytes + 4, end));
        if (names !== undefined) asked.push(names);
      }
      hasStarted = true;
      pending = pending.subarray(end);
    }
  };
}

type Bound = { readonly statement: string; readonly parameter: string };

/** Bind: names of portal and statement, formats of the parameters, their number, and each with its length before it. */
function readBind(body: Buffer, prepared: ReadonlyMap<string, string>): Bound {
  const nameAt = body.indexOf(0) + 1;
  const nameEnd = body.indexOf(0, nameAt);
  const statement = prepared.get(body.toString('utf8', nameAt, nameEnd)) ?? '';
  const countAt = nameEnd + 3 + 2 * body.readUInt16BE(nameEnd + 1);
  if (body.readUInt16BE(countAt) === 0) return { statement, parameter: '' };
  const length = body.readInt32BE(countAt + 2);
  return { statement, parameter: length < 0 ? '' : body.toString('utf8', countAt + 6, countAt + 6 + length) };
}

function namesOf({ statement, parameter }: Bound): RoundTrip {
  const name = stepCall.exec(statement)?.[1];
  if (name !== togetherCall) return [name ?? statement.replaceAll(/\s+/g, ' ').trim().slice(0, shownChars)];
  return (JSON.parse(parameter) as { name: string }[]).map((step) => step.name);
}
