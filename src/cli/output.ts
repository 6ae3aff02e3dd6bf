import type { ProblemCode, Refusal } from '../domain/problem.ts';

/** What a shell or a program is told; `docs/cli.md` says the same. */
export const exitCodes = {
  done: 0,
  /** the operator has to act: configuration, store, provider */
  operator: 1,
  /** the command line cannot be understood */
  usage: 2,
  /** the service said no: a wrong code, a limit */
  refused: 3,
  /** EX_SOFTWARE of sysexits.h: a bug, its stack is on stderr */
  bug: 70,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** A failure that a person at the command line can do something about: its message is all they need. */
export class CliError extends Error {
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = exitCodes.operator) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The command line itself is at fault; says where help is. */
export class UsageError extends CliError {
  constructor(message: string, helpOf = '') {
    super(`${message}\nSee ${programName} ${helpOf}${helpOf === '' ? '' : ' '}--help`, exitCodes.usage);
  }
}

/** How the program is called by whoever reads this: in a clone nothing is on the PATH. */
export const programName = import.meta.filename.endsWith('.ts') ? 'npm run -s countersign --' : 'countersign';

/** A refusal as the HTTP API words it, in whichever way it came. */
export type ProblemBody = {
  readonly code: string;
  readonly detail: string;
  readonly field?: string | undefined;
  readonly attempts_left?: number | undefined;
  readonly verification_status?: string | undefined;
  readonly retry_after?: number | undefined;
};

export function problemBodyOf({ code, detail, field, attemptsLeft, status, retryAfterMs }: Refusal): ProblemBody {
  return {
    code,
    detail,
    field,
    attempts_left: attemptsLeft,
    verification_status: status,
    retry_after: retryAfterMs === undefined ? undefined : Math.ceil(retryAfterMs / 1000),
  };
}

/** Refusals behind which the configuration, the store or a provider stands. */
const operatorCodes: ReadonlySet<string> = new Set<ProblemCode>([
  'no-provider',
  'delivery-failed',
  'store-unavailable',
  'internal-error',
]);

/** Says no: the stable code on stderr for a person, on stdout for a program. @param more lines for the person */
export function printRefusal(problem: ProblemBody, asJson: boolean, more: readonly string[] = []): ExitCode {
  const { code, detail, attempts_left, retry_after } = problem;
  const attempts = attempts_left === undefined ? '' : ` Attempts left: ${attempts_left}.`;
  const wait = retry_after === undefined ? '' : ` Retry after ${durationText(retry_after)}.`;
  printError([`${code}: ${detail}${attempts}${wait}`, ...more].join('\n'));
  if (asJson) printJson(problem);
  return operatorCodes.has(code) ? exitCodes.operator : exitCodes.refused;
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printError(message: string): void {
  process.stderr.write(`countersign: ${message}\n`);
}

/** Columns of the same width, two spaces apart; an empty cell stays empty. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function durationText(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
