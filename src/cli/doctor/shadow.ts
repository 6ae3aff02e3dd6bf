import type { Config } from '../../config/config.ts';
import { type Finding, skipped } from './finding.ts';

/** No fault: it is how a move begins. But in production somebody should remember that it is not over. */
export function shadowFindings({ mode, dialects }: Config): Finding[] {
  if (mode !== 'production') return [];
  return dialects.flatMap(({ app, dialect, upstream }) =>
    upstream === undefined
      ? []
      : [
          skipped(
            `shadow ${app}`,
            `this app still answers with ${upstream} (${dialect.id}); \`countersign shadow report\` says whether ours looks ready`,
          ),
        ],
  );
}
