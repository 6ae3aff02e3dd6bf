import { setTimeout as wait } from 'node:timers/promises';
import { onDatabase } from '../test/servers/postgres.ts';

/** By which nodes agree on who moves the history and who deletes what has ended: `src/stores/redis/mover.ts`, `src/service/housekeeping.ts`. */
const moving = 'move history';
const sweeping = 'sweep';
/** Longer than a node keeps on after its lease was taken away. */
const handOverMs = 2500;

/** Takes the lease, so that the nodes leave the history in Redis. */
export async function holdMover(databaseUrl: string): Promise<void> {
  await hold(databaseUrl, moving);
  await wait(handOverMs);
}

/**
 * The same for what a sweep would move before it deletes. Before a node is started: one that has this lease goes on for longer.
 */
export function holdSweeper(databaseUrl: string): Promise<void> {
  return hold(databaseUrl, sweeping);
}

export async function releaseMover(databaseUrl: string): Promise<void> {
  await onDatabase(databaseUrl, (client) => client.query('DELETE FROM countersign.lease WHERE name = $1', [moving]));
}

async function hold(databaseUrl: string, name: string): Promise<void> {
  await onDatabase(databaseUrl, (client) =>
    client.query(
      `INSERT INTO countersign.lease (name, holder, until)
       VALUES ($1, 'bench', extract(epoch FROM now() + interval '1 hour') * 1000)
       ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until`,
      [name],
    ),
  );
}
