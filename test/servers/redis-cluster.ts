import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './machine.ts';
import { onRedis, type RedisOptions, type RedisServer, startRedis } from './redis.ts';

const SLOTS = 16_384;
const JOIN_PATIENCE_MS = 20_000;

export type RedisCluster = {
  readonly urls: readonly string[];
  readonly nodes: readonly RedisServer[];
  /** Removes every key of every node. */
  empty(): Promise<void>;
  close(): Promise<void>;
};

/** A Redis Cluster of primaries without replicas, each with an equal share of the slots. */
export async function startRedisCluster(
  options: { readonly nodes?: number; readonly args?: readonly string[] } & Pick<RedisOptions, 'program'> = {},
): Promise<RedisCluster> {
  const count = options.nodes ?? 3;
  const buses = await Promise.all(Array.from({ length: count }, freePort));
  const starts = await Promise.allSettled(buses.map((bus) => startNode(bus, options)));
  const nodes = starts.filter((start) => start.status === 'fulfilled').map(({ value }) => value);
  const close = async () => {
    await Promise.all(nodes.map((node) => node.close()));
  };
  try {
    for (const start of starts) if (start.status === 'rejected') throw start.reason;
    await join(nodes, buses);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    urls: nodes.map(({ url }) => url),
    nodes,
    async empty() {
      await Promise.all(nodes.map(({ url }) => emptyNode(url)));
    },
    close,
  };
}

/** Removes every key of one node. */
export async function emptyNode(url: string): Promise<void> {
  await onRedis(url, async (client) => {
    await client.call('FLUSHALL');
  });
}

function startNode(bus: number, { program, args = [] }: Parameters<typeof startRedisCluster>[0] & {}) {
  // The bus has a port of its own: the usual one, 10000 above, may be out of range or taken.
  const own = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '2000'];
  return startRedis({ args: [...own, ...args], ...(program === undefined ? {} : { program }) });
}

/** As `redis-cli --cluster create` does, which asks questions and waits for whole seconds. */
async function join(nodes: readonly RedisServer[], buses: readonly number[]): Promise<void> {
  const share = Math.ceil(SLOTS / nodes.length);
  for (const [index, { url }] of nodes.entries()) {
    await onRedis(url, async (client) => {
      // Without it all begin with the same epoch, and have to agree on others first.
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      const last = Math.min((index + 1) * share, SLOTS) - 1;
      await client.call('CLUSTER', 'ADDSLOTSRANGE', index * share, last);
      for (const [other, { port }] of nodes.entries()) {
        if (other < index) await client.call('CLUSTER', 'MEET', '127.0.0.1', port, buses[other] ?? port + 10_000);
      }
    });
  }
  const deadline = performance.now() + JOIN_PATIENCE_MS;
  for (const { url } of nodes) await untilJoined(url, nodes.length, deadline);
}

async function untilJoined(url: string, count: number, deadline: number): Promise<void> {
  await onRedis(url, async (client) => {
    for (;;) {
      const info = String(await client.call('CLUSTER', 'INFO'));
      const isWhole = info.includes('cluster_state:ok') && info.includes(`cluster_slots_ok:${SLOTS}`);
      if (isWhole && info.includes(`cluster_known_nodes:${count}`) && info.includes(`cluster_size:${count}`)) return;
      if (performance.now() > deadline) throw new Error(`no Redis Cluster after ${JOIN_PATIENCE_MS} ms:\n${info}`);
      await delay(50);
    }
  });
}
