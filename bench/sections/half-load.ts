import { type Bench, loadPairs } from '../measure.ts';
import { medianOf, ms, table, whole } from '../tables.ts';
import { onServer, say, tell } from './rounds.ts';
import { busyConnections, type SectionReport } from './section.ts';

/** Enough that none is ever missing when callers come at instants of their own. */
const openLoopConnections = 128;

export async function measureHalfLoad(bench: Bench): Promise<SectionReport> {
  const rounds = await onServer(bench, async (installation, server) => {
    const full = await loadPairs(bench, installation, [server], { connections: busyConnections });
    const rate = full.pairsPerSecond / 2;
    const half = await loadPairs(bench, installation, [server], { connections: openLoopConnections, rate });
    say(`  full ${tell(full)}; half ${tell(half, { paced: true })}`);
    return { full, half };
  });
  const row = (name: string, of: 'full' | 'half'): string[] => [
    name,
    whole(medianOf(rounds, (round) => round[of].pairsPerSecond)),
    ...(['p50', 'p99', 'p999'] as const).map((figure) => ms(medianOf(rounds, (round) => round[of].pair[figure]))),
  ];
  const text = table(
    ['load', 'pairs/s', 'p50 ms', 'p99 ms', 'p99.9 ms'],
    [
      row(`as fast as ${busyConnections} connections go`, 'full'),
      row('half of that, at random instants, from the intended instant', 'half'),
    ],
  );
  return { title: 'At half load', text, figures: rounds };
}
