# The exact Node.js of package.json (devDependencies.node): every test and every figure of this project is of it.
# A test carries these steps out in plain directories, where there is no container engine: test/deploy/dockerfile.test.ts.

FROM node:26.10.0-slim AS build
WORKDIR /app
COPY . .
# Installs what package-lock.json says, builds the pages, then dist/.
RUN ["npm", "run", "build"]

# A stage of its own: it stays in the cache as long as these files do.
FROM node:26.10.0-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package that the service needs at run time has anything to run when it is installed.
RUN ["npm", "ci", "--omit=dev", "--ignore-scripts"]

FROM node:26.10.0-slim
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="Phone verification service" \
      org.opencontainers.image.licenses="Apache-2.0"
# NODE_ENV implies production mode, which does not start without a secret and a provider.
ENV NODE_ENV=production DATA_DIR=/data PORT=8080
WORKDIR /app
# For the embedded database of a single node. With DATABASE_URL nothing is written there, or anywhere else.
RUN ["install", "--directory", "--owner=1000", "--group=1000", "/data"]
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE deploy/healthcheck.mjs ./
# The user `node` of the base image, by its number: so an orchestrator can see that it is not root.
USER 1000:1000
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["node", "healthcheck.mjs"]
# The whole command line: `docker run … countersign keys list` works too.
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["serve"]
