import { type Bench, isDefaultEntry, newInstallation } from '../measure.ts';
import { startByNpm, startServer } from '../servers.ts';
import { median, table, whole } from '../tables.ts';
import type { SectionReport } from './section.ts';

export async function measureReady(bench: Bench): Promise<SectionReport> {
  // A start uses what cores there are; pinned, the compiler's threads would wait for the main one.
  const unpinned = { kind: 'unpinned', why: 'a start is measured as it is' } as const;
  const measured: Record<'first' | 'second' | 'npm', number[]> = { first: [], second: [], npm: [] };
  for (let round = 0; round < bench.options.rounds; round++) {
    const installation = await newInstallation(bench);
    for (const which of ['first', 'second'] as const) {
      const server = await startServer(installation, bench.entry, unpinned);
      await server.stop();
      measured[which].push(server.readyMs);
    }
    if (isDefaultEntry(bench)) {
      // The first one may install packages and build pages.
      if (round === 0) await (await startByNpm(installation)).stop();
      const server = await startByNpm(installation);
      await server.stop();
      measured.npm.push(server.readyMs);
    }
    await installation.remove();
  }
  const rows = [
    ['`serve`, empty store', whole(median(measured.first))],
    ['`serve`, the same store again', whole(median(measured.second))],
  ];
  if (measured.npm.length > 0) rows.push(['`npm start`, the second time', whole(median(measured.npm))]);
  return { title: 'From the command to the first answer', text: table(['command', 'ms'], rows), figures: measured };
}
