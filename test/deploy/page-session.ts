import { spawn } from 'node:child_process';
import { once } from 'node:events';

const LINE_PATIENCE_MS = 40_000;

/** One shell, as a reader of a page has it open: it remembers variables, and the programs that run in its background. */
export class PageSession {
  readonly #shell;
  #output = '';
  #complaints = '';
  #lines = 0;
  /** what the page shows, and what it is this time */
  readonly #real = new Map<string, string>();

  /** @param real words of the page in whose place others stand here: ports, directories */
  constructor(cwd: string, env: NodeJS.ProcessEnv, real: ReadonlyMap<string, string>) {
    for (const [shown, value] of real) this.#real.set(shown, value);
    // A process group of its own, so that nothing that it starts outlives it.
    this.#shell = spawn('bash', ['--noprofile', '--norc'], { cwd, env, detached: true, stdio: 'pipe' });
    this.#shell.stdout.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    this.#shell.stderr.setEncoding('utf8').on('data', (text: string) => (this.#complaints += text));
    // Should this process be killed, the shell's input ends, and with it the shell and its programs.
    this.#shell.stdin.write(`trap 'trap - TERM EXIT; kill -TERM -- -$$' EXIT\n`);
  }

  /** Carries out a line, and holds what comes out against what the page shows. */
  async run(line: string, shown: string): Promise<void> {
    const got = await this.#execute(this.toReal(line));
    const { source, unknown } = this.#patternOf(shown);
    const found = new RegExp(`^${source}$`).exec(got.trim());
    if (found === null) throw new Error(`$ ${line}\ngave\n${got}${this.#complaints}\nand the page shows\n${shown}`);
    for (const [index, value] of unknown.entries()) this.#real.set(value, found[index + 1] ?? '');
  }

  /** What the page says, with this run's ports, directories, codes and ids. */
  toReal(text: string): string {
    let result = text;
    for (const [shown, value] of this.#real)
      result = result.replace(new RegExp(`(?<![\\w+])${escaped(shown)}(?!\\w)`, 'g'), value);
    return result;
  }

  async close(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.pid === undefined) return;
    const ended = once(this.#shell, 'close');
    // Node.js and nginx end in order; whoever does not is killed a little later.
    const killer = setTimeout(() => signalGroup(this.#shell.pid, 'SIGKILL'), 5000);
    signalGroup(this.#shell.pid, 'SIGTERM');
    await ended;
    clearTimeout(killer);
  }

  async #execute(line: string): Promise<string> {
    this.#lines += 1;
    const mark = `--- line ${this.#lines} ended ---`;
    const from = this.#output.length;
    this.#complaints = '';
    this.#shell.stdin.write(`${line}\necho "${mark}"\n`);
    const deadline = performance.now() + LINE_PATIENCE_MS;
    for (;;) {
      const end = this.#output.indexOf(mark, from);
      if (end !== -1) return this.#output.slice(from, end);
      const hasEnded = this.#shell.exitCode !== null;
      if (hasEnded || performance.now() > deadline)
        throw new Error(`$ ${line}\ndid not end: ${this.#output.slice(from)}${this.#complaints}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** `…` stands for whatever was left out; codes, ids and instants are others each time, the same where the page repeats them. */
  #patternOf(shown: string): { source: string; unknown: string[] } {
    const unknown: string[] = [];
    const source = this.toReal(shown)
      .split(/(\bver_[0-9a-z]{26}\b|"\d{6}")/)
      .map((part, index) => {
        const value = part.replaceAll('"', '');
        if (index % 2 === 0 || [...this.#real.values()].includes(value)) return escaped(part).replaceAll('…', '[^]*?');
        unknown.push(value);
        return part.startsWith('"') ? '"(\\d{6})"' : '(ver_[0-9a-z]{26})';
      })
      .join('');
    return { source, unknown };
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}
