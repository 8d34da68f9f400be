-- tshark -X lua_script:ipfix_ports.lua: what DTLS and DCCP carry on IPFIX's ports is IPFIX ("cflow").
local cflow = Dissector.get("cflow")
for _, port in ipairs({4739, 4740}) do
  DissectorTable.get("dccp.port"):add(port, cflow)
  DissectorTable.get("dtls.port"):add(port, cflow)
end
