/** An instruction of a Dockerfile; `flags` are its `--name=value`. */
export type Instruction = {
  readonly name: string;
  readonly flags: ReadonlyMap<string, string>;
  /** what follows, in one line */
  readonly text: string;
};

/** What stands between one `FROM` and the next. */
export type Stage = {
  /** image, e.g. `node:26-slim` */
  readonly base: string;
  /** behind `AS`, else its place */
  readonly name: string;
  readonly instructions: readonly Instruction[];
};

/** Reads as much of the language as our own Dockerfile uses; all else is refused, so that nothing is passed over. */
export function parseDockerfile(text: string): Stage[] {
  const stages: { base: string; name: string; instructions: Instruction[] }[] = [];
  const withoutComments = text.replaceAll(/^\s*#.*\n/gm, '');
  for (const line of withoutComments.replaceAll(/\\\n\s*/g, ' ').split('\n')) {
    if (line.trim() === '') continue;
    const instruction = readInstruction(line);
    if (instruction.name !== 'FROM') {
      stages.at(-1)?.instructions.push(instruction);
      continue;
    }
    const [, base = '', name = String(stages.length)] = /^(\S+)(?: AS (\S+))?$/.exec(instruction.text) ?? [];
    stages.push({ base, name, instructions: [] });
  }
  return stages;
}

function readInstruction(line: string): Instruction {
  const [, name = '', flagText = '', text = ''] = /^([A-Z]+) ((?:--[a-z-]+=\S+ )*)(.*)$/.exec(line) ?? [];
  if (name === '') throw new Error(`not understood: ${line}`);
  const flags = [...flagText.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, flag = '', value = '']) => [flag, value] as const);
  return { name, flags: new Map(flags), text };
}

/** The exec form, a JSON array. The shell form is refused: a signal would reach the shell, and not the program. */
export function commandOf(text: string): string[] {
  const command: unknown = JSON.parse(text);
  if (!Array.isArray(command) || !command.every((part) => typeof part === 'string'))
    throw new Error(`no list of words: ${text}`);
  return command;
}

/** `NAME=value` pairs of `ENV` and `LABEL`. */
export function pairsOf(text: string): [string, string][] {
  return [...text.matchAll(/(\S+?)=(?:"([^"]*)"|(\S+))/g)].map(([, name = '', quoted, plain]) => [
    name,
    quoted ?? plain ?? '',
  ]);
}
