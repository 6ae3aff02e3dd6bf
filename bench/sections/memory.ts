import { fillThroughServer } from '../fill-through-server.ts';
import type { Bench } from '../measure.ts';
import { megabytes, table, whole } from '../tables.ts';
import type { SectionReport } from './section.ts';

export async function measureMemory(bench: Bench): Promise<SectionReport> {
  const { readings } = await fillThroughServer(bench, bench.options.memoryRows);
  const start = readings[0]?.rssBytes ?? Number.NaN;
  const rows = readings.map(({ verifications, rssBytes, anonymousBytes }) => {
    const name = verifications === 0 ? 'just started' : `${whole(verifications)} verifications`;
    return [name, megabytes(rssBytes), megabytes(rssBytes - start), megabytes(anonymousBytes)];
  });
  const text = table(['after', 'RSS', 'more than at the start', 'RSS without files'], rows);
  return { title: 'Memory of the server', text, figures: readings };
}
