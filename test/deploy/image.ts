import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { contextFiles } from './build-context.ts';
import { commandOf, type Instruction, pairsOf, parseDockerfile, type Stage } from './dockerfile.ts';

const RUN_PATIENCE_MS = 240_000;
const isRoot = process.getuid?.() === 0;

/** What a Dockerfile makes: a plain directory in the place of a file system, and how to start what is in it. */
export type Image = {
  /** where `/` of the image is */
  readonly root: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
  readonly stopSignal: NodeJS.Signals;
  readonly volumes: readonly string[];
  readonly ports: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Starts a program in it, as its user and with nothing of this process's environment. */
  start(command: readonly string[], environment?: Readonly<Record<string, string>>): ChildProcess;
};

type Made = { -readonly [key in keyof Omit<Image, 'start'>]: Image[key] } & { workdir: string };

/**
 * Carries out the steps of a Dockerfile without a container engine: each stage in a directory of its own below `scratch`,
 * with absolute paths taken to be in there. The base image is this process's Node.js, and the machine's npm.
 */
export async function buildImage(context: string, scratch: string): Promise<Image> {
  const read = (file: string) => readFileSync(join(context, file), 'utf8');
  const files = contextFiles(context, read('.dockerignore'));
  // Whoever the service runs as may not be able to reach the Node.js of this clone.
  const programs = join(scratch, 'programs');
  mkdirSync(programs, { recursive: true });
  copyFileSync(process.execPath, join(programs, 'node'));
  for (const directory of [scratch, programs]) chmodSync(directory, 0o755);

  const made = new Map<string, Made>();
  const carryOut = async ({ name, instructions }: Stage): Promise<Made> => {
    const stage = emptyStage(join(scratch, `stage-${name}`));
    mkdirSync(stage.root);
    made.set(name, stage);
    for (const instruction of instructions) {
      if (instruction.name === 'COPY') copy(instruction, stage, made.get(instruction.flags.get('from') ?? ''));
      else if (instruction.name === 'RUN') await run(commandOf(instruction.text), stage);
      else note(instruction, stage);
    }
    return stage;
  };
  let last = emptyStage('');
  for (const stage of parseDockerfile(read('Dockerfile'))) last = await carryOut(stage);

  function copy({ flags, text }: Instruction, stage: Made, from: Made | undefined): void {
    if (flags.has('from') && from === undefined) throw new Error(`no stage ${flags.get('from')}`);
    const words = text.split(' ');
    const target = words.at(-1) ?? '';
    const place = inImage(stage, target);
    for (const source of words.slice(0, -1)) {
      const path = from === undefined ? join(context, source) : inImage(from, source);
      const isDirectory = statSync(path).isDirectory();
      const to = !isDirectory && target.endsWith('/') ? join(place, source.split('/').at(-1) ?? '') : place;
      if (from !== undefined) {
        cpSync(path, to, { recursive: true, verbatimSymlinks: true });
        continue;
      }
      const wanted = [...files].filter((file) => file === source || source === '.' || file.startsWith(`${source}/`));
      if (wanted.length === 0) throw new Error(`COPY ${source}: .dockerignore keeps it out`);
      for (const file of wanted) {
        const copied = isDirectory ? join(to, source === '.' ? file : file.slice(source.length)) : to;
        mkdirSync(dirname(copied), { recursive: true });
        copyFileSync(join(context, file), copied);
      }
    }
  }

  async function run(command: readonly string[], stage: Made): Promise<void> {
    const [program = '', ...args] = command.map((word) => inArgument(stage, word));
    const { PATH, HOME } = process.env;
    const env = { HOME, ...environmentIn(stage), PATH: `${programs}:${PATH}`, npm_config_prefer_offline: 'true' };
    await new Promise<void>((resolve, reject) => {
      execFile(program, args, { cwd: stage.workdir, env, timeout: RUN_PATIENCE_MS }, (error, stdout, stderr) => {
        if (error === null) resolve();
        else reject(new Error(`RUN ${command.join(' ')}: ${error.message}\n${stdout}${stderr}`));
      });
    });
  }

  return {
    ...last,
    start: ([program = '', ...args], environment = {}) =>
      spawn(program === 'node' ? join(programs, 'node') : program, args, {
        cwd: last.workdir,
        env: { PATH: programs, ...environmentIn(last), ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
        ...(isRoot ? last.user : {}),
      }),
  };
}

function emptyStage(root: string): Made {
  const nothing = { environment: {}, entrypoint: [], command: [], healthcheck: [], volumes: [], ports: [], labels: {} };
  return { root, workdir: root, user: { uid: 0, gid: 0 }, stopSignal: 'SIGTERM', ...nothing };
}

/** Instructions that say something of the image, and do nothing. */
function note({ name, text }: Instruction, stage: Made): void {
  switch (name) {
    case 'WORKDIR':
      stage.workdir = inImage(stage, text);
      mkdirSync(stage.workdir, { recursive: true });
      return;
    case 'ENV':
      stage.environment = { ...stage.environment, ...Object.fromEntries(pairsOf(text)) };
      return;
    case 'LABEL':
      stage.labels = { ...stage.labels, ...Object.fromEntries(pairsOf(text)) };
      return;
    case 'USER': {
      const [uid = 0, gid = 0] = text.split(':').map(Number);
      stage.user = { uid, gid };
      return;
    }
    case 'VOLUME':
      stage.volumes = commandOf(text);
      return;
    case 'EXPOSE':
      stage.ports = text.split(' ');
      return;
    case 'STOPSIGNAL':
      stage.stopSignal = text as NodeJS.Signals;
      return;
    case 'HEALTHCHECK':
      stage.healthcheck = commandOf(text.replace(/^CMD /, ''));
      return;
    case 'ENTRYPOINT':
      stage.entrypoint = commandOf(text);
      return;
    case 'CMD':
      stage.command = commandOf(text);
      return;
    default:
      throw new Error(`this test does not know what ${name} does`);
  }
}

function inImage({ root, workdir }: Made, path: string): string {
  return path.startsWith('/') ? join(root, path) : join(workdir, path);
}

/** Only root may give files away; anybody else is the image's user. */
function inArgument(stage: Made, word: string): string {
  if (word.startsWith('/')) return join(stage.root, word);
  if (isRoot) return word;
  return word
    .replace(/^--owner=\d+$/, `--owner=${process.getuid?.() ?? 0}`)
    .replace(/^--group=\d+$/, `--group=${process.getgid?.() ?? 0}`);
}

function environmentIn(stage: Made): Record<string, string> {
  const entries = Object.entries(stage.environment);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value.startsWith('/') ? inImage(stage, value) : value]),
  );
}
