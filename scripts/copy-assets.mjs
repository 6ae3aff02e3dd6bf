// What the built package reads at run time besides its code, put where the code looks for it.
import { cpSync, globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
// The statements and scripts of the stores, wherever they are.
const statements = globSync('src/stores/**/*.{sql,lua}', { cwd: root });
for (const [from, to] of [
  ...statements.map((file) => [file, file.replace(/^src/, 'dist')]),
  ['web/dist', 'dist/web/dist'],
  ['docs/problems.md', 'dist/docs/problems.md'],
]) {
  cpSync(join(root, from), join(root, to), { recursive: true });
}
