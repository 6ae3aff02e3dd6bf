import { spawn } from 'node:child_process';

/**
 * Has a shell command run when this process ends in whatever way, `kill -9` included, unless it is released before.
 * The shell waits for the end of its input, and the system closes that for a process that is no more.
 * @returns releases it
 */
function whenThisProcessDies(command: string, ...args: readonly string[]): () => void {
  // A session of its own: Ctrl-C in a terminal goes to this process, and must not end what cleans up after it.
  const shell = spawn('sh', ['-c', `read -r released || { ${command}; }`, 'sh', ...args], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // It may have ended by the time that it is released.
  shell.stdin.on('error', () => {});
  shell.unref();
  // A pipe to a child is a socket, which would keep this process running; the types do not say so.
  if ('unref' in shell.stdin && typeof shell.stdin.unref === 'function') shell.stdin.unref();
  return () => shell.stdin.end('released\n');
}

/** Ends a process when this one dies: first by the given signal, and after five seconds for certain. */
export function endWithUs(pid: number, signal: NodeJS.Signals): () => void {
  const command = `kill -"$1" "$2"; left=50
    while kill -0 "$2" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
    kill -KILL "$2"`;
  return whenThisProcessDies(command, signal.slice('SIG'.length), String(pid));
}

/** Removes a directory when this process dies. Again and again: a server that is on its way out still writes there. */
export function removeWithUs(directory: string): () => void {
  const command =
    'left=80; while [ -e "$1" ] && [ "$left" -gt 0 ]; do rm -rf "$1"; sleep 0.1; left=$((left - 1)); done';
  return whenThisProcessDies(command, directory);
}
