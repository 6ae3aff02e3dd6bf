import { type Bench, loadPairs } from '../measure.ts';
import { medianOf, ms, table } from '../tables.ts';
import { onServer } from './rounds.ts';
import type { SectionReport } from './section.ts';

export async function measureLoneCaller(bench: Bench): Promise<SectionReport> {
  const rounds = await onServer(bench, (installation, server) => {
    return loadPairs(bench, installation, [server], { connections: 1 });
  });
  const row = (name: string, of: 'pair' | 'start' | 'check'): string[] => [
    name,
    ...(['mean', 'p50', 'p99', 'p999'] as const).map((figure) => ms(medianOf(rounds, (round) => round[of][figure]))),
  ];
  const text = table(
    ['one caller', 'mean ms', 'p50 ms', 'p99 ms', 'p99.9 ms'],
    [row('start', 'start'), row('check', 'check'), row('pair', 'pair')],
  );
  return { title: 'A lone caller', text, figures: rounds };
}
