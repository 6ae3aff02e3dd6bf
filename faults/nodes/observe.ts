import { setTimeout as delay } from 'node:timers/promises';
import { lookAfterwards } from './aftermath.ts';
import type { StoreName } from './backends.ts';
import type { Durations, NodeFault } from './faults.ts';
import type { Installation } from './installation.ts';
import { type Broken, isExcused, judgeLedger, RECOVERY_MS, recoveryMs } from './judge.ts';
import type { Ledger } from './ledger.ts';
import { Traffic } from './traffic.ts';

export const NODES = 4;
/** What is broken all over is said in a few lines. */
const MOST_LINES = 20;

export type Pace = Durations & {
  readonly flowsPerSecond: number;
  /** before the fault, and at least after it */
  readonly calmMs: number;
};

/** For a test: everything once. */
export const quickPace: Pace = { faultMs: 2500, killingMs: 14_000, flowsPerSecond: 12, calmMs: 1200 };
export const fullPace: Pace = { faultMs: 10_000, killingMs: 60_000, flowsPerSecond: 15, calmMs: 5000 };

export type SurvivalObservation = {
  readonly store: StoreName;
  readonly fault: string;
  readonly requests: number;
  /** a 503 with Retry-After */
  readonly unavailable: number;
  /** the connection was cut under it */
  readonly cut: number;
  /** of all answers, but those of repeated requests */
  readonly slowestMs: number;
  readonly recoveryMs: number | undefined;
  readonly verifications: number;
  readonly approvals: number;
  /** messages that went out more than once, with the same code */
  readonly sentTwice: number;
  readonly broken: readonly Broken[];
  /** what was lost, and may be; in words */
  readonly lost: readonly string[];
};

/** Traffic on all nodes, a fault in the middle of it, and a look at everything afterwards. */
export async function observeFault(
  installation: Installation,
  fault: NodeFault,
  pace: Pace,
): Promise<SurvivalObservation> {
  for (const node of installation.nodes) node.complaints.length = 0;
  const traffic = new Traffic(installation);
  traffic.start(pace.flowsPerSecond);
  let ledger: Ledger;
  try {
    await delay(pace.calmMs);
    await fault.prepare?.(installation);
    const faultBeganAt = performance.now();
    const further = await fault.run(installation, pace);
    const faultEndedAt = performance.now();
    const soFar = () => ({
      replies: traffic.replies,
      records: traffic.records,
      nodes: installation.nodes.length,
      faultBeganAt,
      faultEndedAt,
      further,
      complaints: installation.nodes.flatMap(({ complaints }) => complaints),
    });
    await untilBack(soFar);
    await delay(pace.calmMs);
    await traffic.stop();
    await lookAfterwards(installation, traffic);
    ledger = soFar();
  } finally {
    await traffic.stop();
  }
  return observationOf(installation.backend.name, fault, ledger);
}

async function untilBack(soFar: () => Ledger): Promise<void> {
  const deadline = performance.now() + 2 * RECOVERY_MS;
  while (recoveryMs(soFar()) === undefined && performance.now() < deadline) await delay(50);
}

function observationOf(store: StoreName, { id, mayLose = {} }: NodeFault, ledger: Ledger): SurvivalObservation {
  const { replies, records } = ledger;
  const found = judgeLedger(ledger);
  const verifications = records.filter((record) => record.kind === 'verification');
  const timed = replies.filter((reply) => !reply.mayWait && reply.kind === 'answered');
  return {
    store,
    fault: id,
    requests: replies.length,
    unavailable: replies.filter(({ status }) => status === 503).length,
    cut: replies.filter(({ kind }) => kind === 'cut').length,
    slowestMs: Math.max(0, ...timed.map(({ ms }) => ms)),
    recoveryMs: recoveryMs(ledger),
    verifications: verifications.filter(({ ids }) => ids.size > 0).length,
    approvals: verifications.filter(({ checks }) => checks.some(({ outcome }) => outcome === 'approved')).length,
    sentTwice: records.filter(
      (record) =>
        (record.kind === 'verification' || record.kind === 'text') &&
        record.handOvers.length > new Set(record.handOvers.map(({ messageId }) => messageId)).size,
    ).length,
    broken: found.filter((each) => !isExcused(each, mayLose, ledger.faultBeganAt)),
    lost: describeBroken(
      found.filter((each) => isExcused(each, mayLose, ledger.faultBeganAt)),
      ledger.faultBeganAt,
    ),
  };
}

/** Each sentence once, with how often it is true. @param faultBeganAt to say how old the oldest was that was forgotten */
export function describeBroken(broken: readonly Broken[], faultBeganAt?: number): string[] {
  const sentences = Map.groupBy(broken, ({ rule, what }) => `${rule}: ${what}`);
  return [...sentences].slice(0, MOST_LINES).map(([line, each]) => {
    const times = each.length === 1 ? '' : `, ${each.length} times`;
    const oldest = Math.min(...each.map(({ knownAt }) => knownAt ?? Number.POSITIVE_INFINITY));
    const beforeMs = faultBeganAt === undefined ? Number.NaN : Math.round(faultBeganAt - oldest);
    return `${line}${times}${beforeMs > 0 ? `, answered up to ${beforeMs} ms before the fault` : ''}`;
  });
}
