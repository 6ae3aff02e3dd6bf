// What the built package reads at run time besides its code, put where the code looks for it.
import { cpSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
for (const [from, to] of [
  ['src/stores/sqlite/migrations', 'dist/stores/sqlite/migrations'],
  ['web/dist', 'dist/web/dist'],
  ['docs/problems.md', 'dist/docs/problems.md'],
]) {
  cpSync(join(root, from), join(root, to), { recursive: true });
}
