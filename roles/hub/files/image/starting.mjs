// What people get while the hub or the proxy starts. Left without an answer, Apache says in front of it that the site is starting.
import ConfigurableProxy from "/opt/proxy/node_modules/configurable-http-proxy/lib/configproxy.js";

const HUB = `http://hub:8081${process.env.CARREL_BASE_URL || "/"}hub/api/proxy`;
const headers = { Authorization: `token ${process.env.CONFIGPROXY_AUTH_TOKEN}` };
const LOOK_MILLISECONDS = 1000;
const PATIENCE_MILLISECONDS = 60_000;

const { handleProxy } = ConfigurableProxy.prototype;
let hasRoutes = false;

ConfigurableProxy.prototype.handleProxy = function (kind, request, ...rest) {
  return hasRoutes ? handleProxy.call(this, kind, request, ...rest) : request.socket.destroy();
};

// While the hub starts, it cannot be asked for a page about an error, and the proxy would answer with two bare words.
ConfigurableProxy.prototype._handleProxyErrorDefault = (code, kind, request) => request.socket.destroy();

// A proxy that starts knows no user's server, and the hub would look at its routes only every five minutes. The answer comes
// once they are set. A hub that refuses is of a version before, and about to be replaced.
async function fetchRoutes() {
  try {
    const answer = await fetch(HUB, { method: "POST", headers, signal: AbortSignal.timeout(PATIENCE_MILLISECONDS) });
    hasRoutes = answer.ok;
    if (!hasRoutes) console.error(`the hub does not set the routes: ${answer.status}`);
  } catch {
    // it starts, too
  }
  if (!hasRoutes) setTimeout(fetchRoutes, LOOK_MILLISECONDS);
}

fetchRoutes();
