// While the hub starts, it cannot be asked for a page about an error, and the proxy would answer with two bare words. Left
// without an answer, Apache says in front of it that the site is starting.
import ConfigurableProxy from "/opt/proxy/node_modules/configurable-http-proxy/lib/configproxy.js";

ConfigurableProxy.prototype._handleProxyErrorDefault = (code, kind, request) => request.socket.destroy();
