// Asked inside the container: does the process answer? Not /readyz: a node whose database is away is not helped by being
// started anew, and says 503 by itself until the database is back.
const { status } = await fetch(`http://127.0.0.1:${process.env.PORT || 8080}/healthz`, {
  signal: AbortSignal.timeout(2500),
}).catch(() => ({ status: 0 }));
process.exit(status === 200 ? 0 : 1);
